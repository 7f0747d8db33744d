"""GMRES and a dense factorisation for the adjoint equation v = J'v + u, row by row."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.adjoint import Adjoint, LinearMethod
from deqlab.linalg.arrays import of_rows
from deqlab.linalg.gmres import gmres
from deqlab.linalg.norms import block_norms
from deqlab.solution import Solution, Status


@dataclass(frozen=True, kw_only=True)
class GMRES(LinearMethod):
    """GMRES, matrix-free, row by row; see `gmres`.

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
        u = equation.u
        asked = rtol if self.rtol is None or equation.by_error else self.rtol
        limit = self.max_products or max(enough_products(u.shape[1]), equation.effort)
        result = gmres(
            equation.product,
            u,
            tolerance=asked * of_rows(equation.sizes()),
            by_error=equation.by_error,
            max_products=limit,
            x0=equation.start,
            rescaled=True,
            image=equation.image,
            restart=self.restart,
            needed=None if equation.needed is None else of_rows(equation.needed),
        )
        size = equation.counted(result.size)
        status = np.full(len(size), int(Status.STAGNATED))
        if result.products >= limit:
            status[:] = Status.MAX_STEPS
        status[result.failed | ~np.isfinite(result.residual)] = Status.NONFINITE
        status[result.converged] = Status.CONVERGED
        v, residual = result.x, result.residual
        if not len(result.trace) and not result.converged.all():  # no row is waited for
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


def enough_products(dim: int) -> int:
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
        size = equation.sizes().cpu().numpy()
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
