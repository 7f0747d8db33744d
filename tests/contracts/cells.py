"""Every cell that must keep the contract: a new one adds its line here and inherits all tests.

A line says how to make a small cell, and the shape of one sample of its input. What the cell
promises beside is named: rows that do not see each other, and a certificate, which is a function
that returns by how much a theorem about f holds (more than 0 where it does). The cell's own
`certificate()` must come to the same margin by its own route.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from deqlab.bias.diagonal import DiagonalCell
from deqlab.control import BoxQPCell, RENCell
from deqlab.experiments.stabilisers.textbook import TextbookCell
from deqlab.nn import (
    Blur,
    Cell,
    ConcaveCell,
    ConvCell,
    DataConsistencyCell,
    Denoiser,
    DenseCell,
    FilterCell,
    FourierCell,
    GradientStepCell,
    Graph,
    ImplicitGraphCell,
    InfinityNorm,
    LinearGraphCell,
    LipschitzCell,
    Mask,
    MonotoneCell,
    MonotoneConvCell,
    MonotoneTiersCell,
    MultiscaleCell,
    PageRankCell,
    ProximalGradientCell,
    RecallCell,
    RecurrentCell,
    SineCell,
    SpectralNorm,
    TransformerCell,
    Triangular,
)
from deqlab.solvers import Box, PeacemanRachford, Solver
from deqlab.stability.certificate import weights_not_finite
from tests.nn.operators import exact_norm

SPLIT = PeacemanRachford(alpha=0.3, rtol=1e-11, max_steps=2000, patience=500)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One cell.

    Attributes:
        make: Makes it, from torch's generator.
        sample: The shape of one sample of x.
        rows_independent: Whether no row of f depends on another row.
        leading: Whether any number of dimensions may stand in front of a sample.
        one_graph: Whether torch.compile takes it whole: `prepare` decides nothing by values.
        certificate: How much is left until its theorem fails; None where it promises nothing.
        unique: Whether the theorem says that there is one fixed point only, and not merely that
            one exists; the certificate then has this margin.
        bounded: Whether its certificate bounds this margin from below, and does not compute it.
        solver: What its theorem promises will solve it, at weights where Anderson may not.
    """

    make: Callable[[], nn.Module]
    sample: tuple[int, ...]
    rows_independent: bool = True
    leading: bool = False
    one_graph: bool = True
    certificate: Callable[[nn.Module], float] | None = None
    unique: bool = True
    bounded: bool = False
    solver: Solver | None = None

    def x(self, *leading, seed=0):
        """Return an input with these dimensions in front of its samples."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*leading, *self.sample, generator=generator, dtype=torch.float64)


def contraction(cell):
    """Return 1 - |W|_2: with phi 1-Lipschitz f contracts if it is more than 0."""
    return 1 - float(torch.linalg.matrix_norm(cell.weight.detach(), ord=2))


def diagonal_below_one(cell):
    """Return 1 - max diagonal of a triangular W: every coordinate has one solution below 1."""
    w = cell.weight.detach()
    assert torch.equal(w, w.tril())
    return 1 - float(w.diagonal().max())


def monotone_margin(cell):
    """Return the least eigenvalue of I - (W + W') / 2, no less than the margin it was made with."""
    w = cell.weight.detach()
    symmetric = torch.eye(len(w), dtype=w.dtype) - (w + w.T) / 2
    margin = float(torch.linalg.eigvalsh(symmetric)[0])
    assert margin >= cell.margin * (1 - 1e-6)
    return margin


def dense_operator(cell, shapes):
    """Return the matrix of W that the cell evaluates with, column by column, for these shapes."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    unit = torch.eye(sum(sizes), dtype=torch.float64)
    parts = zip(unit.split(sizes, dim=1), shapes, strict=True)
    columns = tuple(part.reshape(-1, *shape) for part, shape in parts)
    channels = cell.inject.in_channels
    with torch.no_grad():
        w = cell.prepare(torch.zeros(1, channels, *shapes[0][1:], dtype=torch.float64)).shared
        zero = tuple(torch.zeros_like(column) for column in columns)
        z, q = (columns[0], zero[0]) if len(shapes) == 1 else (columns, zero)
        image = cell.update.operator.affine(w, z, q)
    images = (image,) if len(shapes) == 1 else image
    return torch.cat([each.flatten(1) for each in images], dim=1).T


def operator_margin(*shapes):
    """Return what tests a margin by the dense matrix that a convolution never makes.

    The margin that it was made with holds at every resolution; at this one it may be larger.
    """

    def margin(cell):
        w = dense_operator(cell, shapes)
        symmetric = torch.eye(len(w), dtype=w.dtype) - (w + w.T) / 2
        assert float(torch.linalg.eigvalsh(symmetric)[0]) >= cell.margin * (1 - 1e-6)
        return cell.margin

    return margin


def lipschitz_inequality(cell):
    """Return that of 2L - LW - W'L, if [2L - LW - W'L - I/g, LU; U'L, g I] is not negative."""
    w, u = cell.weight.detach(), cell.inject.weight.detach()
    metric = torch.diag(cell.metric.detach())
    n, m = u.shape
    slack = 2 * metric - metric @ w - w.T @ metric
    top = slack - torch.eye(n, dtype=w.dtype) / cell.bound
    corner = cell.bound * torch.eye(m, dtype=w.dtype)
    inequality = torch.cat(
        [torch.cat([top, metric @ u], dim=1), torch.cat([(metric @ u).T, corner], dim=1)]
    )
    # Rounding of a matrix of this size.
    assert torch.linalg.eigvalsh(inequality)[0] >= -1e-13 * torch.linalg.norm(inequality)
    return float(torch.linalg.eigvalsh(slack)[0])


def infinity_norm(cell):
    """Return 1 - the largest row sum of |W|."""
    return 1 - float(cell.weight.detach().abs().sum(dim=1).max())


def positive_and_concave(cell):
    """Return the least q, if no weight is negative and sigma is concave where it is used."""
    u = torch.linspace(0, 20, 2001, dtype=torch.float64)
    slopes = cell.activation(u).diff()
    assert (slopes >= 0).all()
    assert (slopes.diff() <= 1e-12).all()
    x = torch.full((1, 3), -1e9, dtype=torch.float64)
    assert cell(torch.zeros(1, 5, dtype=torch.float64), x).min() > 0
    assert (cell.weight >= 0).all()
    return float(cell.prepare(x).rows.detach().min())


def slope_below_one(cell):
    """Return 1 - max w of a diagonal W."""
    return 1 - float(cell.w.detach().max())


def contraction_of_the_feedback(cell):
    """Return 1 - g |A| |B| / sqrt(eps) of the inner arrangement, / eps of the outer one."""
    first, second = cell.prepare(torch.zeros(1, cell.channels, *cell.size).double()).shared[:2]
    size, groups = cell.size, cell.conv_groups
    product = exact_norm(first, size, groups=groups) * exact_norm(second, size, groups=groups)
    left = 1 - product * cell.eps ** (-0.5 if cell.arrangement == "inner" else -1.0)
    assert cell.certificate().holds
    assert cell.certificate().margin <= left  # it bounds the norms from above
    return left


def within_the_unit_ball(cell):
    """Return how far f(z, x) stays below root mean square 1 at every position, from wild states."""
    generator = torch.Generator().manual_seed(5)
    z, x = torch.randn(2, 50, 4, cell.width, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        square = cell(10 * z, x).square().mean(dim=-1)
    return 1 - float(square.max().sqrt())


def within_the_unit_ball_at_every_place(cell):
    """Return the same of a convolutional cell, whose channels stand in front of positions."""
    generator = torch.Generator().manual_seed(5)
    places = (6,) * cell.dims
    z = torch.randn(50, cell.channels, *places, generator=generator, dtype=torch.float64)
    x = torch.randn(50, cell.inputs, *places, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        square = cell(10 * z, 10 * x).square().mean(dim=1)
    return 1 - float(square.max().sqrt())


def within_their_bounds(cell):
    """Return how far a recurrent cell stays below the bounds of its state, from their corners.

    |h| <= 1, and for an LSTM |c| <= 1 + exp(a), with a the largest input of its forget gate.
    """
    generator = torch.Generator().manual_seed(5)
    inner, x = cell.recurrent, torch.randn(50, 3, generator=generator, dtype=torch.float64)
    h, c = torch.randn(2, 50, 5, generator=generator, dtype=torch.float64).sign()
    if isinstance(inner, nn.GRUCell):
        return 1 + 1e-12 - float(inner(x, h).abs().max().detach())
    weight, bias = inner.weight_ih[5:10], inner.bias_ih[5:10] + inner.bias_hh[5:10]
    bound = 1 + torch.exp(x @ weight.T + bias + inner.weight_hh[5:10].abs().sum(dim=1))
    h, c = inner(x, (h, c * bound))
    return 1 + 1e-12 - float(torch.maximum(h.abs(), c.abs() / bound).max().detach())


class OnGraph(Cell):
    """A graph cell that always sees the same graph: a square with one directed diagonal."""

    sample_dims = 2

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        edges = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0, 0], [1, 0, 2, 1, 3, 2, 0, 3, 2]])
        dense = torch.zeros(4, 4, dtype=torch.float64)
        dense[edges[1], edges[0]] = 1.0
        self.graph = Graph.of(dense)  # a dense one, which torch.compile takes as well

    def initial(self, x):
        return self.inner.initial(x, self.graph)

    def prepare(self, x):
        return self.inner.prepare(x, self.graph)

    def update(self, z, shared, rows):
        return self.inner.update(z, shared, rows)

    def certificate(self):
        return self.inner.certificate()


def restart_of_page_rank(cell):
    """Return 1 - g times the spectral radius of A, which is 1 on a connected graph."""
    radius = torch.linalg.eigvals(cell.graph.adjacency).abs().max()
    return 1 - float(cell.inner.feedback * radius)


def radius_of_the_whole_graph(cell):
    """Return 1 - the spectral radius of |A| x |W|, the matrix between all nodes and features."""
    weight = cell.inner.weight.detach()
    whole = torch.kron(cell.graph.adjacency.abs(), weight.abs())
    # An eigenvalue of 20 x 20 numbers is off by some roundings.
    return 1 + 1e-13 - float(torch.linalg.eigvals(whole).abs().max())


def norm_of_the_whole_graph(cell):
    """Return 1 - the spectral radius of A x W, from the symmetric form of both."""
    root = cell.graph.scale
    row = cell.graph.adjacency * root / root[:, None]
    torch.testing.assert_close(row.sum(dim=1), torch.ones_like(root))  # it averages
    whole = torch.kron(cell.graph.adjacency, cell.inner.weight.detach())
    return 1 - float(torch.linalg.eigvals(whole).abs().max())


def contraction_of_a_reconstruction(cell):
    """Return 1 - the Lipschitz constant of f, of the dense matrices of A and of M's layers."""
    channels, size = cell.denoiser.channels, cell.denoiser.size
    units = torch.eye(channels * size[0] * size[1], dtype=torch.float64).view(-1, channels, *size)
    a = cell.measurement(units).flatten(1)
    s = torch.linalg.eigvalsh(a @ a.T)
    residual, g = 1.0, float(cell.gain)
    for filters, _ in cell.denoiser.prepared():
        residual *= exact_norm(filters, size)
    w = float(cell.log_weight.detach().exp())
    if isinstance(cell, ProximalGradientCell):
        rate = (1 + w * residual) / (1 + w) * float((1 - s / s[-1]).abs().max())
    elif isinstance(cell, DataConsistencyCell):
        inverse = torch.linalg.inv(a @ a.T + w * torch.eye(len(a), dtype=a.dtype))
        rate = w * residual * float(torch.linalg.matrix_norm(inverse, ord=2))
    else:
        rate = 1 - float(s[0] + w * (1 - residual)) / float(s[-1] + w)
    left = 1 - g * rate
    assert cell.certificate().margin <= left  # it bounds the norms from above
    return left


def norm_of_all_modes(cell):
    """Return 1 - g |K| of phi with slope 1, from the dense matrix of g K by unit fields."""
    size = (2 * cell.modes + 2, 2 * cell.modes + 1)  # that has modes beyond the lowest
    dim = cell.channels * size[0] * size[1]
    units = torch.eye(dim, dtype=torch.float64).view(dim, cell.channels, *size)
    with torch.no_grad():
        shared = cell.prepare(torch.zeros(1, 3, *size, dtype=torch.float64)).shared
        phi, cell.activation = cell.activation, lambda z: z
        dense = cell.update(units, shared, torch.zeros_like(units)).flatten(1)
        cell.activation = phi
    return 1 - float(torch.linalg.matrix_norm(dense, ord=2))


def neurons_of_a_network(cell):
    """Return 1 / gamma of the Lipschitz inequality, by H22 = 2 Lambda - Lambda D - D' Lambda.

    Lambda - (Lambda D + D' Lambda) / 2 is (X'X + eps I) / 2 in the block of the neurons.
    """
    n, q = cell.num_states, cell.width
    x = cell.free.detach()[:, n : n + q]
    slack = (x.T @ x + 1e-4 * torch.eye(q, dtype=x.dtype)) / 2
    scale = (2 / (1 + (2 * cell.log_multipliers.detach()).exp())).sqrt()
    return float(torch.linalg.eigvalsh(scale[:, None] * slack * scale)[0])


class OfPrograms(Cell):
    """A program with bounds for each x: H = L L' + I with weights and x in L, and g = x V'."""

    sample_dims = 1

    def __init__(self, size, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim))
        self.inject = nn.Linear(size, dim)
        self.programs = BoxQPCell(Box(torch.full((dim,), -0.5), 0.4))

    def initial(self, x):
        return self.programs.initial(*self.program(x))

    def prepare(self, x):
        return self.programs.prepare(*self.program(x))

    @property
    def update(self):
        return self.programs.update

    def certificate(self):
        unknown = weights_not_finite(self)  # such an H is refused
        return self.programs.certificate() if unknown is None else unknown

    def program(self, x):
        """Return H and g of each row."""
        g = self.inject(x)
        factor = 0.3 * self.weight + torch.diag_embed(g)
        return factor @ factor.mT + torch.eye(g.shape[-1], dtype=g.dtype), g


def least_step_of_programs(cell):
    """Return the least eigenvalue of H / c over programs, c the root of the extreme ones of H."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    values = torch.linalg.eigvalsh(cell.program(x)[0].detach())
    return float((values[:, 0] / values[:, -1]).sqrt().min())


CELLS = {
    "DenseCell": Kept(
        make=lambda: DenseCell(3, 5, activation=torch.tanh), sample=(3,), leading=True
    ),
    "DenseCell-SpectralNorm": Kept(
        make=lambda: DenseCell(3, 5, constraint=SpectralNorm(), gain=2.0),
        sample=(3,),
        leading=True,
        certificate=contraction,
    ),
    "DenseCell-Triangular": Kept(
        make=lambda: DenseCell(3, 5, constraint=Triangular()),
        sample=(3,),
        leading=True,
        certificate=diagonal_below_one,
    ),
    "MonotoneCell": Kept(
        make=lambda: MonotoneCell(3, 5, margin=0.5, activation=torch.tanh),
        sample=(3,),
        leading=True,
        certificate=monotone_margin,
    ),
    "MonotoneConvCell": Kept(
        make=lambda: MonotoneConvCell(1, 2, margin=0.5),
        sample=(1, 4, 3),
        leading=True,
        certificate=operator_margin((2, 4, 3)),
        solver=SPLIT,
    ),
    "MonotoneTiersCell": Kept(
        make=lambda: MonotoneTiersCell(1, (1, 2), margin=0.5, border=False),
        sample=(1, 2, 4),
        leading=True,
        certificate=operator_margin((1, 2, 4), (2, 1, 2)),
        solver=SPLIT,
    ),
    "LipschitzCell": Kept(
        make=lambda: LipschitzCell(3, 5, bound=2.0, activation=torch.tanh),
        sample=(3,),
        leading=True,
        certificate=lipschitz_inequality,
    ),
    "DenseCell-InfinityNorm": Kept(
        make=lambda: DenseCell(3, 5, constraint=InfinityNorm(), gain=2.0),
        sample=(3,),
        leading=True,
        certificate=infinity_norm,
    ),
    "ConcaveCell": Kept(
        make=lambda: ConcaveCell(3, 5, gain=4.0),
        sample=(3,),
        leading=True,
        certificate=positive_and_concave,
    ),
    "MultiscaleCell": Kept(make=lambda: MultiscaleCell(2, (4, 8)), sample=(2, 4, 4)),
    "MultiscaleCell-complete": Kept(
        make=lambda: MultiscaleCell(
            2, (2, 2, 2), groups=1, gain=0.2, exchange="all", expansion=2, identity=0.5, size=(4, 4)
        ),
        sample=(2, 4, 4),
    ),
    "ConvCell": Kept(
        make=lambda: ConvCell(4, (4, 3), conv_groups=2, groups=2, gain=0.4),
        sample=(4, 4, 3),
        leading=True,
    ),
    "ConvCell-outer": Kept(
        make=lambda: ConvCell(4, (3, 3), arrangement="outer", eps=1.0, gain=0.5),
        sample=(4, 3, 3),
        leading=True,
        certificate=contraction_of_the_feedback,
        bounded=True,
    ),
    "DataConsistencyCell": Kept(
        make=lambda: DataConsistencyCell(
            Blur(torch.full((3, 3), 1 / 9)),
            Denoiser(1, (4, 3), width=2, layers=2, cap=0.4),
            weight=0.5,
        ),
        sample=(1, 4, 3),
        leading=True,
        certificate=contraction_of_a_reconstruction,
        bounded=True,
    ),
    "FourierCell": Kept(
        make=lambda: FourierCell(3, 2, 2, activation=torch.tanh, gain=0.8),
        sample=(3, 3, 4),
        leading=True,
        certificate=norm_of_all_modes,
    ),
    "FourierCell-layers": Kept(
        make=lambda: FourierCell(2, 2, 2, layers=2, gain=0.8), sample=(2, 3, 3), leading=True
    ),
    "GradientStepCell": Kept(
        make=lambda: GradientStepCell(
            Mask(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.5]])),
            Denoiser(2, (2, 3), width=3, layers=2, cap=0.4),
            weight=1.0,
            gain=0.9,
        ),
        sample=(2, 2, 3),
        leading=True,
        certificate=contraction_of_a_reconstruction,
        bounded=True,
    ),
    "ProximalGradientCell": Kept(
        make=lambda: ProximalGradientCell(
            Blur(torch.full((3, 3), 1 / 9)),
            Denoiser(1, (4, 3), width=2, layers=2, cap=0.4),
            weight=0.5,
        ),
        sample=(1, 4, 3),
        leading=True,
        certificate=contraction_of_a_reconstruction,
        bounded=True,
    ),
    "TransformerCell": Kept(
        make=lambda: TransformerCell(8, 2, cap=0.2),
        sample=(3, 8),
        leading=True,
        certificate=within_the_unit_ball,
        unique=False,
    ),
    "TransformerCell-not-causal": Kept(
        make=lambda: TransformerCell(4, 2, blocks=2, causal=False, query_key_norm=False, cap=0.2),
        sample=(3, 4),
        leading=True,
        certificate=within_the_unit_ball,
        unique=False,
    ),
    "RecallCell": Kept(
        make=lambda: RecallCell(2, 4, gain=0.2),
        sample=(2, 5),
        leading=True,
        certificate=within_the_unit_ball_at_every_place,
        unique=False,
    ),
    "RecallCell-pictures": Kept(
        make=lambda: RecallCell(1, 3, dims=2, blocks=1, gain=0.2),
        sample=(1, 4, 3),
        leading=True,
        certificate=within_the_unit_ball_at_every_place,
        unique=False,
    ),
    "RecurrentCell-GRU": Kept(
        make=lambda: RecurrentCell(nn.GRUCell(3, 5)),
        sample=(3,),
        leading=True,
        certificate=within_their_bounds,
        unique=False,
    ),
    "RecurrentCell-LSTM": Kept(
        make=lambda: RecurrentCell(nn.LSTMCell(3, 5)),
        sample=(3,),
        leading=True,
        certificate=within_their_bounds,
        unique=False,
    ),
    "PageRankCell": Kept(
        make=lambda: OnGraph(PageRankCell(nn.Linear(3, 5), 5, restart=0.2)),
        sample=(4, 3),
        leading=True,
        certificate=restart_of_page_rank,
    ),
    "ImplicitGraphCell": Kept(
        make=lambda: OnGraph(ImplicitGraphCell(3, 5, activation=torch.tanh)),
        sample=(4, 3),
        leading=True,
        certificate=radius_of_the_whole_graph,
        bounded=True,
    ),
    "LinearGraphCell": Kept(
        make=lambda: OnGraph(LinearGraphCell(3, 5)),
        sample=(4, 3),
        leading=True,
        certificate=norm_of_the_whole_graph,
    ),
    "SineCell": Kept(
        make=lambda: SineCell(2, 5, scale=3.0, cap=0.9, gain=0.8),
        sample=(2,),
        leading=True,
        certificate=contraction,
    ),
    "FilterCell": Kept(
        make=lambda: FilterCell(2, 5, scale=3.0, cap=0.9, gain=0.8),
        sample=(2,),
        leading=True,
        certificate=contraction,
    ),
    "RENCell": Kept(
        make=lambda: RENCell(2, 1, 5, activation=torch.tanh),
        sample=(3,),
        leading=True,
        certificate=neurons_of_a_network,
        solver=replace(SPLIT, alpha=0.03),  # |D| is some hundreds after a step
    ),
    "BoxQPCell": Kept(
        make=lambda: OfPrograms(3, 4),
        sample=(3,),
        leading=True,
        one_graph=False,  # it refuses an H that is not definite
        certificate=least_step_of_programs,
        bounded=True,
        solver=replace(SPLIT, alpha=1.0),
    ),
    "TextbookCell": Kept(make=lambda: TextbookCell(4, gain=0.2), sample=(4, 3, 3)),
    "DiagonalCell": Kept(
        make=lambda: DiagonalCell(torch.tensor([0.5, -0.25, 0.0]), torch.ones(3)),
        sample=(3,),
        one_graph=False,  # it refuses slopes of 1 and more
        certificate=slope_below_one,
    ),
}

VARIANTS = {
    "FourierCell-layers",
    "MultiscaleCell-complete",
    "TransformerCell-not-causal",
    "RecallCell-pictures",
    "RecurrentCell-LSTM",
}
"""Those that are left to the slow tests: another configuration of the same cell is not."""


def parametrised(cells):
    """Return the mark that gives a test each of these cells, as `kept`."""
    each = [
        pytest.param(kept, id=name, marks=[pytest.mark.slow] if name in VARIANTS else [])
        for name, kept in cells.items()
    ]
    return pytest.mark.parametrize("kept", each)


every_cell = parametrised(CELLS)
