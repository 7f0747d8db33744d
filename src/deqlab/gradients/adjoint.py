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
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import SettingsByName
from deqlab.krylov import gmres
from deqlab.operators import Product
from deqlab.solution import Solution, Status
from deqlab.solvers import Solver
from deqlab.state import block_norms

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
        start: Where to start; None for where the method starts.
        effort: Evaluations and products that the forward solve took.
        needed: Rows whose v is waited for, on the host. The others get what comes with it: there
            is no equilibrium to differentiate where the forward solve failed. None for all.
    """

    product: Product
    u: Float[Tensor, "B D"]
    blocks: Sequence[int]
    by_error: bool = False
    scale: Float[Tensor, "B D"] | None = None
    start: Float[Tensor, "B D"] | None = None
    effort: int = 0
    needed: Bool[np.ndarray, " B"] | None = None

    def balanced(self) -> "Adjoint":
        """Return the equation for v / s, where s is the size of u or J'u in each block.

        A block that the loss does not touch, or with another unit than the rest, is then held to
        its own scale. The equation of one block stays as it is.
        """
        if len(self.blocks) == 1:
            return self
        sizes = block_norms(self.u, self.blocks)
        sizes = np.fmax(sizes, block_norms(self.product(self.u), self.blocks))
        sizes = np.where(np.isfinite(sizes), sizes, 0.0)
        row = np.linalg.norm(sizes, axis=1, keepdims=True)
        sizes = np.where(sizes > 0, sizes, np.where(row > 0, row, 1.0))
        columns = torch.tensor(self.blocks, device=self.u.device)
        s = torch.from_numpy(sizes).to(self.u).repeat_interleave(columns, dim=1)

        def product(v: Tensor) -> Tensor:
            return self.product(v * s) / s

        start = None if self.start is None else self.start / s
        blocks = (s.shape[1],)
        return replace(self, product=product, u=self.u / s, blocks=blocks, scale=s, start=start)

    def sizes(self) -> Float[np.ndarray, " B"]:
        """Return |u|, which in a balanced equation counts as 1."""
        size = block_norms(self.u, (self.u.shape[1],))[:, 0]
        return size if self.scale is None else np.where(size > 0, 1.0, size)

    def norms(self, matrix: Float[Tensor, "B D"]) -> Float[np.ndarray, " B"]:
        """Return the norm of each row of a v or a residual, in what v is measured in."""
        scaled = matrix if self.scale is None else matrix / self.scale
        return block_norms(scaled, (scaled.shape[1],))[:, 0]


class LinearMethod(SettingsByName, ABC):
    """A method that only solves linear equations."""

    @abstractmethod
    def solve(self, equation: Adjoint, rtol: float) -> Solution:
        """Return v, and the verdict on each row: |u + J'v - v| <= rtol |u|.

        In a balanced equation |u| counts as 1.
        """


@dataclass(frozen=True, kw_only=True)
class GMRES(LinearMethod):
    """GMRES, matrix-free, row by row; see `krylov`.

    Attributes:
        rtol: Tolerance relative to |u|, 0 or more; None is that of the forward solver.
        max_products: Products with J' at most, 1 or more. None is 200, or as many as the forward
            solve took evaluations and products, or D + 32 for states of up to 1024 numbers a row
            (where D products solve every system that is not singular), whichever is most.
        restart: Products in one cycle, 1 or more; memory is restart + 3 states at most. None
            takes 30, and where these bring little a longer basis, of up to 2^27 numbers.
    """

    rtol: float | None = None
    max_products: int | None = None
    restart: int | None = None

    def __post_init__(self) -> None:
        check_rtol(self.rtol)
        for name in ("max_products", "restart"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or None, got {value}")

    @override
    def solve(self, equation: Adjoint, rtol: float) -> Solution:
        u, size = equation.u, equation.sizes()
        asked = rtol if self.rtol is None or equation.by_error else self.rtol
        limit = self.max_products or max(_enough(u.shape[1]), equation.effort)
        result = gmres(
            equation.product,
            u,
            tolerance=asked * size,
            by_error=equation.by_error,
            max_products=limit,
            x0=equation.start,
            restart=self.restart,
            needed=equation.needed,
        )
        status = np.full(len(size), int(Status.STAGNATED))
        if result.products >= limit:
            status[:] = Status.MAX_STEPS
        status[result.failed | ~np.isfinite(result.residual)] = Status.NONFINITE
        status[result.converged] = Status.CONVERGED
        v, residual = result.x, result.residual
        if not result.products and not result.converged.all():  # no row is waited for
            v, residual = u, np.where(result.converged, residual, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = asked * residual / result.tolerance
        if not np.isfinite(size).all():
            # A cotangent that is not finite goes on as it is: nobody shall read it as zero.
            v = torch.where(u.isfinite().all(dim=1, keepdim=True), v, u)
        return linear_solution(
            u,
            v,
            residual=residual,
            tolerance=result.tolerance,
            status=status,
            products=result.products,
            trace=np.concatenate([size[None], result.trace]),
            error=error if equation.by_error else None,
        )


def _enough(dim: int) -> int:
    """Return how many products GMRES may take of itself."""
    return max(200, dim + 32) if dim <= 1024 else 200


@dataclass(frozen=True, kw_only=True)
class Dense(LinearMethod):
    """A factorisation of I - J', row by row: D products, and D^3 / 3 multiply-adds a row.

    Attributes:
        max_size: Refuse states with more numbers a row than this, at least 1.
    """

    max_size: int = 1024

    @override
    def solve(self, equation: Adjoint, rtol: float) -> Solution:
        u = equation.u
        dim = u.shape[1]
        if dim > self.max_size:
            raise ValueError(
                f"Dense holds D x D numbers a row, and this state has D = {dim}, more than "
                f"max_size = {self.max_size}; take GMRES(), or raise max_size"
            )
        # Row i of J is J' e_i. A row that is not finite must not spoil the factorisation, which
        # half precision does not have.
        unit = torch.eye(dim, dtype=u.dtype, device=u.device)
        rows = [equation.product(unit[i].expand_as(u)) for i in range(dim)]
        system = unit - (torch.stack(rows, dim=2) if rows else u.new_zeros(*u.shape, dim))
        dtype, wide = u.dtype, torch.promote_types(u.dtype, torch.float32)
        u, unit, system = u.to(wide), unit.to(wide), system.to(wide)
        sound = system.isfinite().all(dim=(1, 2)) & u.isfinite().all(dim=1)
        v, info = torch.linalg.solve_ex(torch.where(sound[:, None, None], system, unit), u)
        solved = sound & (info == 0) & v.isfinite().all(dim=1)
        v = torch.where(solved[:, None], v, u)
        rest = u - torch.einsum("bij,bj->bi", system, v)
        residual = block_norms(rest, (dim,))[:, 0]
        size = equation.sizes()
        with np.errstate(invalid="ignore", divide="ignore"):
            error = residual / size
        # To rounding: that is all a factorisation promises.
        rounding = 10 * dim * torch.finfo(u.dtype).eps * block_norms(v, (dim,))[:, 0]
        tolerance = np.maximum(rtol * size, rounding)
        status = np.where(residual <= tolerance, Status.CONVERGED, Status.STAGNATED)
        status[~np.isfinite(residual) | ~solved.cpu().numpy()] = Status.NONFINITE
        return linear_solution(
            u,
            v.to(dtype),
            residual=residual,
            tolerance=tolerance,
            status=status,
            products=dim,
            trace=np.stack([size, residual]),
            error=error if equation.by_error else None,
        )


def solve_adjoint(method: Solver[Any] | LinearMethod, equation: Adjoint, rtol: float) -> Solution:
    """Return v by any method; `rtol` is for linear methods that have none of their own."""
    with torch.no_grad():
        if isinstance(method, LinearMethod):
            result = method.solve(equation, rtol)
        else:
            u = equation.u
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
        eps: Of the precision in which f works.
    """
    norms = equation.norms(residual), equation.sizes() + equation.norms(result.matrix)
    measured, scale = (torch.from_numpy(each).to(residual.device) for each in norms)
    allowed = result.tolerance + ROUNDING * eps * scale
    wrong = result.converged & ~(measured <= allowed)
    return replace(
        result,
        status=torch.where(wrong, int(Status.STAGNATED), result.status),
        residual=torch.where(wrong, measured, result.residual),
    )


def moved(result: Solution, equation: Adjoint, residual: Float[Tensor, "B D"]) -> Solution:
    """Return the result of an equation by error, given its residual at a point closer to z*."""
    assert result.error is not None
    away = torch.from_numpy(equation.norms(residual)).to(residual.device)
    size = torch.from_numpy(equation.sizes()).to(residual.device)
    growth = torch.where(result.residual > 0, result.error / result.residual, 1 / size)
    error = growth * torch.fmax(result.residual, away)
    return replace(result, error=error.nan_to_num(nan=0.0))


def _only_needed(equation: Adjoint) -> Product:
    """Return the product with zero rows where v is not waited for: these end at v = u."""
    needed = torch.from_numpy(equation.needed).to(equation.u.device)[:, None]
    return lambda v: torch.where(needed, equation.product(v), 0.0)


def check_rtol(rtol: float | None) -> None:
    """Raise ValueError unless `rtol` is None, or 0 or more and finite."""
    if rtol is not None and not 0 <= rtol < float("inf"):
        raise ValueError(f"rtol must be 0 or more, and finite, got {rtol}")


def linear_solution(
    u: Tensor,
    v: Tensor,
    *,
    residual: np.ndarray,
    tolerance: np.ndarray,
    status: np.ndarray,
    products: int,
    trace: np.ndarray,
    error: np.ndarray | None,
) -> Solution:
    """Return what a linear method found, as a solution; arrays are (B,), the trace (T, B)."""
    steps = np.minimum((trace > tolerance).sum(axis=0), products)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(u.device)

    return Solution(
        value=v,
        residual=tensor(residual.astype(np.float64)),
        tolerance=tensor(tolerance),
        status=tensor(status.astype(np.int64)),
        steps=tensor(steps),
        evaluations=0,
        products=products,
        trace=tensor(trace),
        error=None if error is None else tensor(np.nan_to_num(error, nan=0.0)),
    )
