"""Methods for the adjoint equation v = J'v + u, which is linear: one system per row.

Any solver of deqlab can iterate it from v = u. Krylov methods need fewer products, for they know
that it is linear: GMRES finds the best v in the span of u, J'u, J'J'u, ..., which holds every
partial sum of the Neumann series. A small state is cheapest by a dense factorisation.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from deqlab.arguments import SettingsByName
from deqlab.linalg.norms import traceable_block_norms
from deqlab.linalg.products import Product
from deqlab.solution import Solution, Status
from deqlab.solvers.base import Solver
from deqlab.solvers.split import AdjointMap

ROUNDING = 8.0
"""In units of eps (|u| + |v|): how far J'v + u - v may be off where v is right to rounding."""


@dataclass(frozen=True, kw_only=True)
class Adjoint:
    """The equation v = J'v + u.

    Attributes:
        product: v -> J'v.
        u: The cotangent of the value.
        blocks: Columns of each block.
        by_error: Whether the tolerance is meant for the estimated relative error of v.
        scale: What v is measured in, if the equation is for v / scale; None for 1.
        start: Where to start, up to its size; None for where the method starts.
        image: J'u, if that is known.
        effort: Evaluations and products that the forward solve took.
        needed: Rows whose v is waited for. The others get what comes with it: there is no
            equilibrium to differentiate where the forward solve failed. None for all.
        split: v -> J'v + u as a map whose parts splitting methods find; None where they do not
            solve it.
    """

    product: Product
    u: Float[Tensor, "B D"]
    blocks: Sequence[int]
    by_error: bool = False
    scale: Float[Tensor, "B D"] | None = None
    start: Float[Tensor, "B D"] | None = None
    image: Float[Tensor, "B D"] | None = None
    effort: int = 0
    needed: Bool[Tensor, " B"] | None = None
    split: AdjointMap | None = None

    def balanced(self) -> "Adjoint":
        """Return the equation for v / s, where s is the size of u or J'u in each block.

        A block that the loss does not touch, or with another unit than the rest, is then held to
        its own scale. The equation of one block stays as it is.
        """
        if len(self.blocks) == 1:
            return self
        image = self.product(self.u).detach()
        pulled = traceable_block_norms(image, self.blocks)
        sizes = torch.fmax(traceable_block_norms(self.u.detach(), self.blocks), pulled)
        sizes = torch.where(sizes.isfinite(), sizes, 0.0)
        row = torch.linalg.vector_norm(sizes, dim=1, keepdim=True)
        sizes = torch.where(sizes > 0, sizes, torch.where(row > 0, row, 1.0)).to(self.u.dtype)
        each = (sizes[:, i, None].expand(-1, size) for i, size in enumerate(self.blocks))
        s = torch.cat(tuple(each), dim=1)

        def product(v: Tensor) -> Tensor:
            return self.product(v * s) / s

        start = None if self.start is None else self.start / s
        return replace(
            self,
            product=product,
            u=self.u / s,
            blocks=(s.shape[1],),
            scale=s,
            start=start,
            image=image / s,
        )

    def counted(self, norms: np.ndarray) -> np.ndarray:
        """Return |u| as it counts: as 1 in a balanced equation."""
        return norms if self.scale is None else np.where(norms > 0, 1.0, norms)

    def sizes(self) -> Float64[Tensor, " B"]:
        """Return |u|, which in a balanced equation counts as 1."""
        size = _row_norms(self.u)
        return size if self.scale is None else torch.where(size > 0, 1.0, size)

    def norms(self, matrix: Float[Tensor, "B D"]) -> Float64[Tensor, " B"]:
        """Return the norm of each row of a v or a residual, in what v is measured in."""
        return _row_norms(matrix if self.scale is None else matrix / self.scale)


class LinearMethod(SettingsByName, ABC):
    """A method that only solves linear equations."""

    @abstractmethod
    def solve(self, equation: Adjoint, rtol: float) -> Solution:
        """Return v, and the verdict on each row: |u + J'v - v| <= rtol |u|.

        In a balanced equation |u| counts as 1.
        """


def solve_adjoint(method: Solver[Any] | LinearMethod, equation: Adjoint, rtol: float) -> Solution:
    """Return v by any method; `rtol` is for linear methods that have none of their own."""
    with torch.no_grad():
        if isinstance(method, LinearMethod):
            result = method.solve(equation, rtol)
        else:
            u = equation.u
            if equation.split is not None:
                return method.solve(equation.split, u, blocks=equation.blocks)
            product = equation.product if equation.needed is None else _only_needed(equation)
            result = method.solve(lambda v: product(v) + u, u, blocks=equation.blocks)
    if equation.scale is None:
        return result
    products = result.products + 1
    return replace(result, value=result.matrix * equation.scale, products=products)


def verified(
    result: Solution, equation: Adjoint, residual: Float[Tensor, "B D"], eps: float
) -> Solution:
    """Return the result with its verdicts held to the residual J'v + u - v, once it was measured.

    Methods judge each row by a recurrence that trusts the other rows to have no part in it.

    Args:
        result: What `solve_adjoint` returned.
        equation: What it solved.
        residual: J'v + u - v.
        eps: The rounding of the precision in which f works.
    """
    measured = equation.norms(residual)
    wrong = result.converged & ~(measured <= result.tolerance)
    if wrong.is_cpu and not bool(wrong.any()):  # a device is not asked
        return result
    scale = equation.sizes() + equation.norms(result.matrix)
    wrong &= ~(measured <= result.tolerance + ROUNDING * eps * scale)
    return replace(
        result,
        status=torch.where(wrong, int(Status.STAGNATED), result.status),
        residual=torch.where(wrong, measured, result.residual),
    )


def moved(result: Solution, equation: Adjoint, residual: Float[Tensor, "B D"]) -> Solution:
    """Return the result of an equation by error, given its residual at a point closer to z*."""
    assert result.error is not None
    away = equation.norms(residual)
    growth = torch.where(result.residual > 0, result.error / result.residual, 1 / equation.sizes())
    error = growth * torch.fmax(result.residual, away)
    return replace(result, error=error.nan_to_num(nan=0.0))


def _only_needed(equation: Adjoint) -> Product:
    """Return the product with zero rows where v is not waited for: these end at v = u."""
    assert equation.needed is not None
    needed = equation.needed[:, None]
    return lambda v: torch.where(needed, equation.product(v), 0.0)


def _row_norms(matrix: Float[Tensor, "B D"]) -> Float64[Tensor, " B"]:
    return traceable_block_norms(matrix.detach(), (matrix.shape[1],))[:, 0]
