"""Every cell that must keep the contract: a new one adds its line here and inherits all tests.

A line says how to make a small cell, and the shape of one sample of its input. What the cell
promises beside is named: rows that do not see each other, and a certificate, which is a function
that returns by how much a theorem about f holds (more than 0 where it does).
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from deqlab.bias.diagonal import DiagonalCell
from deqlab.nn import ConvCell, DenseCell, MonotoneCell, MultiscaleCell, SpectralNorm, Triangular
from tests.nn.operators import exact_norm


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
    """

    make: Callable[[], nn.Module]
    sample: tuple[int, ...]
    rows_independent: bool = True
    leading: bool = False
    one_graph: bool = True
    certificate: Callable[[nn.Module], float] | None = None

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
    """Return the least eigenvalue of I - (W + W') / 2, against the margin it was made with."""
    w = cell.weight.detach()
    symmetric = torch.eye(len(w), dtype=w.dtype) - (w + w.T) / 2
    return float(torch.linalg.eigvalsh(symmetric)[0]) - cell.margin * (1 - 1e-6)


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
    "MultiscaleCell": Kept(make=lambda: MultiscaleCell(2, (4, 8)), sample=(2, 4, 4)),
    "MultiscaleCell-complete": Kept(
        make=lambda: MultiscaleCell(
            2, (2, 2, 2), groups=2, exchange="all", expansion=2, identity=0.5, size=(4, 4)
        ),
        sample=(2, 4, 4),
    ),
    "ConvCell": Kept(
        make=lambda: ConvCell(4, (4, 3), conv_groups=2, groups=2, gain=0.5),
        sample=(4, 4, 3),
        leading=True,
    ),
    "ConvCell-outer": Kept(
        make=lambda: ConvCell(4, (3, 3), arrangement="outer", eps=1.0, gain=0.5),
        sample=(4, 3, 3),
        leading=True,
        certificate=contraction_of_the_feedback,
    ),
    "DiagonalCell": Kept(
        make=lambda: DiagonalCell(torch.tensor([0.5, -0.25, 0.0]), torch.ones(3)),
        sample=(3,),
        one_graph=False,  # it refuses slopes of 1 and more
        certificate=slope_below_one,
    ),
}

every_cell = pytest.mark.parametrize("kept", CELLS.values(), ids=CELLS)
