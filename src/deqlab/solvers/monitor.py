"""The verdict on each row of a solve.

A row has converged at z when, in every block of its columns,

    |f(z) - z| <= atol + rtol min(|f(z)|, 10 max(|z0|, |f(z0)|)).

The second scale is fixed at the start: relative to |f(z)| alone, a map that runs off to infinity
(z + 1, say) would converge. Beyond it a residual counts as no less than the rounding of f(z).

The verdicts are a few numbers per row. They live on the host, in numpy, where an operation on
them costs a tenth of what it costs torch; the states stay where they are.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.solution import Solution, Status
from deqlab.state import block_norms, choose_rows

Array: TypeAlias = np.ndarray

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
        self.count = 0  # evaluations so far
        self.best = z
        self.least = np.full(batch, np.inf)  # what `best` is ranked by
        self.residual = np.full(batch, np.inf)
        self.tolerance = np.full(batch, np.inf)
        self.status = np.full(batch, int(Status.MAX_STEPS))
        self.steps = np.zeros(batch, dtype=int)
        self.improved_at = np.zeros(batch, dtype=int)
        self.active = np.ones(batch, dtype=bool)
        self.all_active = True
        self.trace: list[Array] = []
        self.start: Array | None = None  # (B, K), the scale of z0 and f(z0)

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> bool:
        """Take note of f(z) = fz; return whether any row needs another step."""
        data, f_data = z.detach(), fz.detach()
        residuals = block_norms(f_data - data, self.blocks)
        sizes = block_norms(f_data, self.blocks)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.start is None:
                start = np.maximum(block_norms(data, self.blocks), sizes)
                # A block that is zero at z0 and at f(z0) may still move later: it takes the scale
                # of its row.
                self.start = np.where(start > 0, start, _norm(start)[:, None])
            cap = SCALE_CAP * self.start
            counted, far = residuals, sizes > cap
            if far.any():
                # Far out, f(z) - z is mostly rounding: an accelerated step may throw z to 1e16,
                # where z + 1 is z.
                rounding = np.where(far, torch.finfo(z.dtype).eps / 2 * sizes, 0.0)
                counted, sizes = np.maximum(residuals, rounding), np.minimum(sizes, cap)
            self._note(z, residuals, counted, self.atol + self.rtol * sizes)
        return bool(self.active.any()) and self.count < self.max_steps

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_active else choose_rows(self._mask(self.active), z_next, z)

    def solution(self) -> Solution:
        """Return the verdicts, and for each row the iterate they speak of."""
        device = self.best.device
        # In the precision of the state, but not below float32.
        exact = np.float64 if self.best.dtype == torch.float64 else np.float32
        trace = torch.from_numpy(np.stack(self.trace).astype(exact))
        return Solution(
            value=self.best,
            residual=torch.from_numpy(self.residual).to(device),
            tolerance=torch.from_numpy(self.tolerance).to(device),
            status=torch.from_numpy(self.status).to(device),
            steps=torch.from_numpy(self.steps).to(device),
            evaluations=self.count,
            trace=trace.to(device),
        )

    def _note(
        self, z: Float[Tensor, "B D"], residuals: Array, counted: Array, tolerances: Array
    ) -> None:
        """Judge every row that still runs, by what its residuals count as."""
        self.count += 1
        residual, measure = _norm(residuals), self._measure(counted)
        self.trace.append(residual)
        if self.all_active and (measure < self.least).all() and (counted > tolerances).all():
            # Every row runs and makes progress, and none is done.
            self.best, self.residual, self.tolerance = z, residual, _norm(tolerances)
            self.least = measure
            self.steps.fill(self.count)
            self.improved_at.fill(self.count)
            return

        finite = np.isfinite(measure)
        # inf is within a tolerance of inf
        converged = self.active & (counted <= tolerances).all(axis=1) & finite
        improved = self.active & finite & (measure < self.least)
        self.steps[self.active] = self.count
        self._keep(z, improved | converged, residual, _norm(tolerances))
        self.least = np.where(improved, measure, self.least)
        self.improved_at[improved] = self.count
        verdict = np.full_like(self.status, int(Status.MAX_STEPS))
        verdict[self.count - self.improved_at >= self.patience] = int(Status.STAGNATED)
        verdict[measure > DIVERGENCE * self.least] = int(Status.DIVERGED)
        verdict[~finite] = int(Status.NONFINITE)
        verdict[converged] = int(Status.CONVERGED)
        self.status = np.where(self.active, verdict, self.status)
        self.active = self.active & (verdict == Status.MAX_STEPS)
        self.all_active = bool(self.active.all())

    def _measure(self, counted: Array) -> Array:
        """Return what iterates are ranked by; blocks of different scales count alike."""
        if counted.shape[1] == 1:
            return _norm(counted)
        assert self.start is not None
        return _norm(counted / np.maximum(self.start, np.finfo(float).tiny))

    def _keep(
        self, z: Float[Tensor, "B D"], take: Array, residual: Array, tolerance: Array
    ) -> None:
        """Remember z as the best iterate of the rows that `take` names."""
        self.residual = np.where(take, residual, self.residual)
        self.tolerance = np.where(take, tolerance, self.tolerance)
        # A converged row stands still, so that z is its best iterate too: no copy is needed
        # while every row either improves or has converged.
        if (take | (self.status == Status.CONVERGED)).all():
            self.best = z
        elif take.any():
            self.best = choose_rows(self._mask(take), z, self.best)

    def _mask(self, rows: Array) -> Tensor:
        return torch.from_numpy(rows).to(self.best.device)


def _norm(blocks: Array) -> Array:
    norm: Array = blocks[:, 0] if blocks.shape[1] == 1 else np.linalg.norm(blocks, axis=1)
    return norm
