"""Every cell that must keep the contract: a new one adds its line here and inherits all tests.

A line says how to make a small cell, and the shape of one sample of its input. What the cell
promises beside is named: rows that do not see each other, and a certificate, which is a function
that returns by how much a theorem about f holds (more than 0 where it does). The cell's own
`certificate()` must come to the same margin by its own route.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from deqlab.bias.diagonal import DiagonalCell
from deqlab.experiments.stabilisers.textbook import TextbookCell
from deqlab.nn import (
    ConcaveCell,
    ConvCell,
    DenseCell,
    InfinityNorm,
    LipschitzCell,
    MonotoneCell,
    MonotoneConvCell,
    MonotoneTiersCell,
    MultiscaleCell,
    RecurrentCell,
    SpectralNorm,
    TransformerCell,
    Triangular,
)
from deqlab.solvers import PeacemanRachford, Solver
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
    "TextbookCell": Kept(make=lambda: TextbookCell(4, gain=0.2), sample=(4, 3, 3)),
    "DiagonalCell": Kept(
        make=lambda: DiagonalCell(torch.tensor([0.5, -0.25, 0.0]), torch.ones(3)),
        sample=(3,),
        one_graph=False,  # it refuses slopes of 1 and more
        certificate=slope_below_one,
    ),
}

every_cell = pytest.mark.parametrize("kept", CELLS.values(), ids=CELLS)
