"""The verdict on each row of a solve.

A row has converged at z when, in every block of its columns,

    |f(z) - z| <= atol + rtol min(|f(z)|, 10 max(|z0|, |f(z0)|)).

The second scale is fixed at the start: relative to |f(z)| alone, a map that runs off to infinity
(z + 1, say) would converge. Beyond it a residual counts as no less than the rounding of f(z). All
sums of verdicts wait for one look from the host per step.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.solution import Solution, Status
from deqlab.state import block_norms, choose_rows

SCALE_CAP = 10.0
"""How far |f(z)| may outgrow the start and still loosen the tolerance."""

DIVERGENCE = 1e8
"""A residual this many times its minimum is not a transient: even the steep nilpotent maps of
sawtooth constructions grow only to about 2^D before they collapse."""


class Monitor:
    """Follows one solve: which rows still run, what each row's best iterate is."""

    def __init__(
        self,
        z: Float[Tensor, "B D"],
        rtol: float,
        atol: float,
        max_steps: int,
        patience: int,
        blocks: Sequence[int] | None,
    ) -> None:
        self.rtol, self.atol = rtol, atol
        self.max_steps, self.patience = max_steps, patience
        self.blocks = tuple(blocks) if blocks is not None else (z.shape[1],)
        batch = z.shape[0]
        infinite = torch.full((batch,), torch.inf, dtype=torch.float64, device=z.device)
        self.best = z
        self.best_measure, self.residual, self.tolerance = infinite, infinite, infinite
        self.status = torch.full((batch,), int(Status.MAX_STEPS), device=z.device)
        self.steps = torch.zeros_like(self.status)
        self.improved_at = torch.zeros_like(self.status)
        self.active = torch.ones_like(self.status, dtype=torch.bool)
        self.all_active = True
        self.trace: list[Tensor] = []
        self.start: Tensor | None = None  # (B, K), the scale of z0 and f(z0)

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> bool:
        """Take note of f(z) = fz; return whether any row needs another step."""
        z_data, fz_data = z.detach(), fz.detach()
        residuals = block_norms(fz_data - z_data, self.blocks)  # (B, K)
        sizes = block_norms(fz_data, self.blocks)
        if self.start is None:
            start = torch.maximum(block_norms(z_data, self.blocks), sizes)
            # A block that is zero at z0 and at f(z0) may still move later: it takes the scale of
            # its row.
            self.start = torch.where(start > 0, start, _norm(start)[:, None])
        cap = SCALE_CAP * self.start
        tolerances = self.atol + self.rtol * torch.minimum(sizes, cap)
        # Far out, f(z) - z is mostly rounding: an accelerated step may throw z to 1e16, where
        # z + 1 is z.
        rounding = torch.where(sizes > cap, torch.finfo(z.dtype).eps / 2 * sizes, 0.0)
        counted = torch.maximum(residuals, rounding)
        within = (counted <= tolerances).all(dim=1)  # false for nan
        self._update(z, residuals, tolerances, self._measure(counted), within)
        return bool(self.active.any()) and len(self.trace) < self.max_steps

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_active else choose_rows(self.active, z_next, z)

    def solution(self) -> Solution:
        """Return the verdicts, and for each row the iterate they speak of."""
        return Solution(
            value=self.best,
            residual=self.residual,
            tolerance=self.tolerance,
            status=self.status,
            steps=self.steps,
            evaluations=len(self.trace),
            trace=torch.stack(self.trace),
        )

    def _update(
        self,
        z: Float[Tensor, "B D"],
        residuals: Float[Tensor, "B K"],
        tolerances: Float[Tensor, "B K"],
        measure: Float[Tensor, " B"],
        within: Bool[Tensor, " B"],
    ) -> None:
        residual = _norm(residuals)
        self.trace.append(residual.to(torch.promote_types(z.dtype, torch.float32)))
        finite = measure.isfinite()
        converged = self.active & within
        improved = self.active & finite & (measure < self.best_measure)
        self._keep(z, improved | converged, residual, _norm(tolerances))
        self.best_measure = torch.where(improved, measure, self.best_measure)
        self.steps = self.steps + self.active
        self.improved_at = torch.where(improved, self.steps, self.improved_at)

        stagnated = self.steps - self.improved_at >= self.patience
        diverged = measure > DIVERGENCE * self.best_measure
        verdict = torch.where(stagnated, int(Status.STAGNATED), int(Status.MAX_STEPS))
        verdict = torch.where(diverged, int(Status.DIVERGED), verdict)
        verdict = torch.where(finite, verdict, int(Status.NONFINITE))
        verdict = torch.where(converged, int(Status.CONVERGED), verdict)
        self.status = torch.where(self.active, verdict, self.status)
        self.active = self.active & (verdict == Status.MAX_STEPS)
        self.all_active = bool(self.active.all())

    def _measure(self, residuals: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """One number to rank iterates by: blocks of different scales count alike."""
        if residuals.shape[1] == 1:
            return residuals[:, 0]
        assert self.start is not None
        tiny = torch.finfo(residuals.dtype).tiny
        return _norm(residuals / self.start.clamp_min(tiny))

    def _keep(
        self,
        z: Float[Tensor, "B D"],
        take: Bool[Tensor, " B"],
        residual: Float[Tensor, " B"],
        tolerance: Float[Tensor, " B"],
    ) -> None:
        """Remember z as the best iterate of the rows that `take` names."""
        # A converged row stands still, so that z is its best iterate too: no copy is needed
        # while every row either improves or has converged.
        if bool((take | (self.status == Status.CONVERGED)).all()):
            self.best = z
        else:
            self.best = choose_rows(take, z, self.best)
        self.residual = torch.where(take, residual, self.residual)
        self.tolerance = torch.where(take, tolerance, self.tolerance)


def _norm(blocks: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    return blocks[:, 0] if blocks.shape[1] == 1 else torch.linalg.vector_norm(blocks, dim=1)
