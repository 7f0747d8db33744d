"""The regulator as a layer of a network, whose solves a convergence log sees."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.control.riccati import (
    MOST_STEPS,
    PATIENCE,
    Regulator,
    regulator_of,
    riccati,
    start_of,
    systems,
)
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.deq import DEQ
from deqlab.solvers.base import Solver
from deqlab.solvers.picard import Picard

EXACT = Picard(rtol=1e-10, max_steps=MOST_STEPS, patience=PATIENCE)
"""For systems in float64."""


class RiccatiCell(Cell[Tensor]):
    """f(P, A, B, Q, R), the Riccati map, which starts at the end of a doubling iteration.

    Shapes: A (B, n, n), B (B, n, m), Q (B, n, n), R (B, m, m), P (B, n, n).

    Nothing is proved of it for all inputs: a Riccati equation has several solutions, and
    `RegulatorLayer` verifies the one that was found.
    """

    @override
    def initial(self, a: Tensor, b: Tensor, q: Tensor, r: Tensor) -> Float[Tensor, "B n n"]:
        return start_of(a, b, q, r)

    @override
    def prepare(self, a: Tensor, b: Tensor, q: Tensor, r: Tensor) -> Prepared:
        return Prepared(rows=(a, b, q, r))

    @override
    def update(
        self, p: Float[Tensor, "B n n"], shared: tuple[()], rows: tuple[Tensor, ...]
    ) -> Float[Tensor, "B n n"]:
        return riccati(p, *rows)


class RegulatorLayer(nn.Module):
    """`lqr` as a module: A, B, Q and R to the regulator that stabilises.

    Args:
        solver: As in `lqr`.
        gradient: As in `lqr`.

    Attributes:
        deq: The layer whose equilibrium is P; `deq.last` has the verdicts.

    Example:
        >>> import torch
        >>> layer = RegulatorLayer()
        >>> a, b, eye = torch.tensor([[1.1]]), torch.tensor([[0.5]]), torch.eye(1)
        >>> regulator = layer(a.double(), b.double(), eye.double(), eye.double())
        >>> bool(regulator.radius < 1), layer.deq.last.converged
        (True, tensor([True]))
    """

    def __init__(self, *, solver: Solver[Any] = EXACT, gradient: Gradient = Implicit()) -> None:
        super().__init__()
        self.deq = DEQ(RiccatiCell(), solver=solver, gradient=gradient)

    @override
    def forward(
        self,
        a: Float[Tensor, "..."],
        b: Float[Tensor, "..."],
        q: Float[Tensor, "..."],
        r: Float[Tensor, "..."],
    ) -> Regulator:
        """Return the stabilising regulator of each system; arguments and errors as of `lqr`."""
        leading, rows = systems(a, b, q, r)
        return regulator_of(leading, rows, self.deq.solve(*rows))
