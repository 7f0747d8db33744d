"""Quadratic programs with bounds, as fixed points of a projected gradient step.

    minimise u'H u / 2 + g'u    subject to    lower <= u <= upper,

with H positive definite. With Box the projection on the bounds, u is optimal if and only if

    u = Box(W u + q),    W = I - H / c,    q = -g / c,

for any c > 0: a monotone equilibrium, which `Newton` solves by active sets (semismooth Newton: Qi &
Sun 1993) and splitting methods by a resolvent. c is the root of the product of the extreme
eigenvalues of H, the step at which Peaceman-Rachford splitting contracts most (Giselsson & Boyd
2017), with the factor (sqrt(kappa) - 1) / (sqrt(kappa) + 1) at condition kappa. What is plain
iteration here, projected gradient descent, needs c above half the largest eigenvalue, and about
kappa steps: it is not the method to take.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.control.systems import check_shapes, symmetric
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import Dense
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.solution import Solution
from deqlab.solve import fixed_point
from deqlab.solvers.base import Solver
from deqlab.solvers.linear_operator import LinearOperator, resolvent, safe_alpha
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.newton import Newton
from deqlab.solvers.proximal import Box
from deqlab.stability.certificate import Certificate

EXACT = Implicit(solver=Dense())
"""The gradient of a program: as many products as it has numbers, and a factorisation."""


LEAST = 2 * torch.finfo(torch.float64).eps ** 0.5
"""I - W >= LEAST I: its eigenvalues are those of H over c, and none of a larger condition is taken.

1 / sqrt(condition) is the least, and fixed_point_form asks for 1 / condition > 4 D eps.
"""


@dataclass(frozen=True)
class MatrixPerRow(LinearOperator):
    """W is one matrix for each row, (B, D, D)."""

    per_row: ClassVar[bool] = True

    @override
    def affine(
        self, w: Float[Tensor, "B D D"], z: Float[Tensor, "B D"], q: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        return torch.baddbmm(q[..., None], w, z[..., None])[..., 0]

    @override
    def transpose(self, w: Float[Tensor, "B D D"]) -> Float[Tensor, "B D D"]:
        return w.mT

    @override
    def resolvent(self, w: Float[Tensor, "B D D"], alpha: float) -> Callable[[Tensor], Tensor]:
        inverse = resolvent(w, alpha)
        return lambda z: torch.bmm(inverse, z[..., None])[..., 0]

    @override
    def contracting_alpha(self, w: Float[Tensor, "B D D"]) -> float:
        return safe_alpha(w)


class ProgramMap(MonotoneMap):
    """f(u, (), (W, q)) = Box(W u + q): W belongs to a row as q does, and leaves a batch with it."""

    @override
    def __call__(
        self, z: Float[Tensor, "B D"], w: tuple[()], q: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "B D"]:
        image: Tensor = super().__call__(z, *q)
        return image

    @override
    def weights(self, w: tuple[()], q: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return q


class BoxQPCell(Cell[Tensor]):
    """f(u, H, g) = Box(u - (H u + g) / c), whose fixed point is the solution of the program.

    Shapes: H (B, D, D), g (B, D), u (B, D). Gradients flow to H, g and to bounds that need them.

    Args:
        box: The bounds; one that is a tensor has the shape (D,).

    Example:
        >>> import torch
        >>> from deqlab import DEQ, Newton
        >>> h, g = torch.eye(2)[None], torch.tensor([[-3.0, 0.5]])
        >>> DEQ(BoxQPCell(Box(-1.0, 1.0)), solver=Newton())(h, g)
        tensor([[ 1.0000, -0.5000]])
    """

    def __init__(self, box: Box) -> None:
        super().__init__()
        self.box = box
        self.operator = MatrixPerRow()  # an attribute: compilers follow these

    @override
    def initial(
        self, h: Float[Tensor, "*B D D"], g: Float[Tensor, "*B D"]
    ) -> Float[Tensor, "*B D"]:
        with full_precision(g) as (wide,):
            return torch.zeros_like(wide)

    @override
    def prepare(self, h: Float[Tensor, "B D D"], g: Float[Tensor, "B D"]) -> Prepared:
        check_shapes({"H": h, "g": g}, {"H": (g.shape[-1],) * 2, "g": g.shape[-1:]})
        return Prepared(rows=fixed_point_form(h, g))

    @property
    def update(self) -> ProgramMap:  # type: ignore[override]
        """The map (u, (), (W, q)) -> Box(W u + q), which shows its parts to splitting methods."""
        return ProgramMap(self.box, self.operator)

    @override
    def certificate(self) -> Certificate:
        """Return what is proved of every program that it takes: others are refused."""
        return Certificate(
            theorem="strongly monotone, as H is positive definite (Winston & Kolter 2020)",
            holds=True,
            margin=LEAST,
            exists=True,
            unique=True,
        )


def fixed_point_form(
    h: Float[Tensor, "B D D"], g: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, "B D D"], Float[Tensor, "B D"]]:
    """Return W = I - H / c and q = -g / c; c carries no gradient, for no solution depends on it.

    Raises:
        ValueError: H is not positive definite.
    """
    with full_precision(h, g) as (h, g):
        return _form(symmetric(h), g)


def _form(h: Float[Tensor, "B D D"], g: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor]:
    values = torch.linalg.eigvalsh(h.detach())
    least, largest = values[:, 0], values[:, -1]
    singular = ~(least > 4 * h.shape[-1] * torch.finfo(h.dtype).eps * largest)
    if bool(singular.any()):
        raise ValueError(
            f"H must be positive definite, got eigenvalues from {float(least[singular][0]):.3g} to "
            f"{float(largest[singular][0]):.3g} in {int(singular.sum())} of {len(h)} programs: "
            "give every input a cost"
        )
    c = (least * largest).sqrt()
    eye = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
    return eye - h / c[:, None, None], -g / c[:, None]


def box_qp(
    h: Float[Tensor, "..."],
    g: Float[Tensor, "..."],
    box: Box,
    *,
    solver: Solver[Any] | None = None,
    gradient: Gradient = EXACT,
) -> Solution[Tensor]:
    """Minimise u'H u / 2 + g'u within bounds, for each program of a batch.

    Leading dimensions are broadcast. Only the symmetric part of H matters.

    Args:
        h: H, (..., D, D), positive definite.
        g: g, (..., D).
        box: The bounds, which have the shape (D,) where they are tensors.
        solver: The forward method; None is `Newton`, to eps^(2/3) of the dtype.
            `PeacemanRachford` and `DouglasRachford` take programs of more than 1024 numbers, and
            need a few times the root of the condition number of H in steps.
        gradient: How to differentiate u in H, g and the bounds; `Implicit()` (GMRES) for more than
            1024 numbers.

    Returns:
        The solution, (..., D), within the bounds to the bit, with its verdicts in the order of the
        flattened leading dimensions.

    Raises:
        ValueError: A shape is wrong, or H is not positive definite.
        ConvergenceError: A program missed the tolerance.
    """
    if g.ndim < 1 or not g.shape[-1]:
        raise ValueError(f"g must have the shape (..., D) with D above 0, got {tuple(g.shape)}")
    size = g.shape[-1]
    check_shapes({"H": h, "g": g}, {"H": (size, size), "g": (size,)})
    leading = torch.broadcast_shapes(h.shape[:-2], g.shape[:-1])
    h = h.expand(*leading, size, size).reshape(-1, size, size)
    g = g.expand(*leading, size).reshape(-1, size)
    if solver is None:
        solver = Newton(rtol=torch.finfo(g.dtype).eps ** (2 / 3))
    cell = BoxQPCell(box)
    program = fixed_point_form(h, g)
    start = cell.initial(h, g)
    solution = fixed_point(cell.update, start, (), program, solver=solver, gradient=gradient)
    # One more step of f: the iterate of a solver may be outside of the box by rounding.
    value = cell.update(solution.value, (), program)
    return replace(solution, value=value.reshape(*leading, size))
