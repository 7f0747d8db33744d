"""The backward pass of a compiled implicit gradient: v = J'v + u, its verdicts, and what f takes.

What `gradients.exact_adjoint` does outside, without a look at a number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from deqlab.compiled.gmres import Rows, System, gmres, longest
from deqlab.compiled.linearised import Linearised
from deqlab.compiled.report import report_adjoint
from deqlab.gradients.adjoint import ROUNDING
from deqlab.gradients.linear_methods import enough_products
from deqlab.linalg.norms import traceable_block_norms
from deqlab.linalg.scaled_norms import scaled_norms
from deqlab.solvers.loop.progress import CONVERGED, MAX_STEPS, NONFINITE, STAGNATED


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the backward pass is told, in numbers and words."""

    rtol: float
    max_products: int | None
    blocks: tuple[int, ...]
    what: str
    on_failure: str


@dataclass(frozen=True)
class Backward:
    """One backward pass.

    Attributes:
        linear: The derivative of f at z*.
        settings: What the caller asked for.
        eps: The rounding of f.
        status: The verdicts of the forward solve.
        evaluations: Its evaluations.
        kept: What `linear.point` has returned.
    """

    linear: Linearised
    settings: Settings
    eps: float
    status: Int64[Tensor, " B"]
    evaluations: Int64[Tensor, ""]
    kept: Sequence[Any]

    def gradients(self, u: Float[Tensor, "B D"]) -> Sequence[Tensor]:
        """Return v' df / d each tensor that f depends on."""
        defined = (self.status != NONFINITE)[:, None]
        u = torch.where(defined, u, 0.0)
        if self.linear.product is None:  # f does not depend on z
            return tuple(self.linear.leave(u, *self.kept))
        system, product, given, scale = self._equation(u, defined)
        v, rows = gmres(product, given, system)
        v = v if scale is None else v * scale
        converged = rows.residual <= system.tolerance
        unasked = (rows.products == 0) & ~converged.all()  # no row is waited for
        v = torch.where(unasked | ~u.isfinite().all(dim=1, keepdim=True), u, v.to(u.dtype))
        image, *rest = self.linear.leave(v, *self.kept)
        gradients: Sequence[Tensor] = rest
        residual = torch.where(defined, image + u - v, 0.0)
        if scale is not None:
            residual, v = residual / scale, v / scale
        # As one sum: inductor (torch 2.13) takes the memory of one of two for the other.
        measured, size = scaled_norms(torch.cat([residual, v])).chunk(2)
        self._report(rows, system, measured, size)
        return gradients

    def _equation(
        self, u: Float[Tensor, "B D"], defined: Bool[Tensor, "B 1"]
    ) -> tuple[System, Callable[..., Tensor], tuple[Any, ...], Float[Tensor, "B D"] | None]:
        """Return the equation for v / s, the product, what it takes, and s; None for 1."""
        walk, dtype = self.linear.product, u.dtype
        assert walk is not None
        given = (defined, *self.kept[: self.linear.kept])

        def product(v: Tensor, defined: Tensor, *kept: Any) -> Tensor:  # noqa: ANN401
            return torch.where(defined, walk(v.to(dtype), *kept)[0], 0.0).to(v.dtype)

        def scaled(v: Tensor, scale: Tensor, *given: Any) -> Tensor:  # noqa: ANN401
            return product(v * scale, *given) / scale

        wide = torch.promote_types(dtype, torch.float32)
        b, asked, scale = u.to(wide), self.settings.rtol, None
        if len(self.settings.blocks) > 1:
            scale = _block_scales(u, product(u, *given), self.settings.blocks).to(wide)
            b = b / scale
        size = scaled_norms(b)
        if scale is not None:
            size = torch.where(size > 0, 1.0, size)
        most = self.settings.max_products
        enough = self.evaluations.clamp_min(most or enough_products(u.shape[1]))
        limit = enough if most is None else torch.full_like(enough, most)
        system = System(b, asked * size, self.status == CONVERGED, limit)
        if scale is None:
            return system, product, given, None
        return system, scaled, (scale, *given), scale

    def _report(
        self,
        rows: Rows,
        system: System,
        measured: Float64[Tensor, " B"],
        size: Float64[Tensor, " B"],
    ) -> None:
        """Make the graph raise or warn if a row that is waited for has failed.

        Args:
            rows: Where the rows have ended.
            system: What they were held to.
            measured: |J'v + u - v|, measured.
            size: |v|.
        """
        converged = rows.residual <= system.tolerance
        most = system.limit.clamp_max(longest(system.b))
        status = torch.where(rows.products >= most, MAX_STEPS, STAGNATED)
        status = torch.where(rows.failed | ~rows.residual.isfinite(), NONFINITE, status)
        rounding = ROUNDING * self.eps * (scaled_norms(system.b) + size)
        wrong = converged & ~(measured <= system.tolerance + rounding)
        status = torch.where(wrong, STAGNATED, torch.where(converged, CONVERGED, status))
        status = torch.where(system.needed, status, CONVERGED)
        residual = torch.where(wrong, measured, rows.residual)
        report_adjoint(
            status,
            residual,
            system.tolerance,
            torch.minimum(rows.steps, rows.products),
            what=self.settings.what,
            on_failure=self.settings.on_failure,
        )


def _block_scales(
    u: Float[Tensor, "B D"], image: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float64[Tensor, "B D"]:
    """Return the size of u or J'u in each block, for each number of the state; see `balanced`."""
    sizes = torch.fmax(traceable_block_norms(u, blocks), traceable_block_norms(image, blocks))
    sizes = torch.where(sizes.isfinite(), sizes, 0.0)
    row = torch.linalg.vector_norm(sizes, dim=1, keepdim=True)
    sizes = torch.where(sizes > 0, sizes, torch.where(row > 0, row, 1.0))
    return torch.cat([sizes[:, i, None].expand(-1, n) for i, n in enumerate(blocks)], dim=1)
