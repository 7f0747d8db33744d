"""The verdict on each row of a solve.

A row has converged at z when, in every block of its columns,

    |f(z) - z| <= atol + rtol min(|f(z)|, 10 max(|z0|, |f(z0)|)).

The second scale is fixed at the start: relative to |f(z)| alone, a map that runs off to infinity
(z + 1, say) would converge. Beyond it a residual counts as no less than the rounding of f(z).

The verdicts are a few numbers per row. They live on the host, in numpy, where an operation on
them costs a tenth of what it costs torch; the states stay where they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.solution import Status
from deqlab.state import block_norms, choose_rows, residual_norms

Array: TypeAlias = np.ndarray

SCALE_CAP = 10.0
"""How far |f(z)| may outgrow the start and still loosen the tolerance."""

DIVERGENCE = 1e8
"""A residual this many times its minimum is not a transient: even the steep nilpotent maps of
sawtooth constructions grow only to about 2^D before they collapse."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a row is held to; see `Solver` for their meaning."""

    rtol: float
    atol: float
    min_steps: int
    max_steps: int
    patience: int


class Monitor:
    """Follows the rows of one solve: which still run, what each row's best iterate is."""

    def __init__(self, z: Float[Tensor, "B D"], rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.blocks = rules, blocks
        batch = z.shape[0]
        self.count = 0  # iterates judged so far
        self.best = z
        self.least = np.full(batch, np.inf)  # what `best` is ranked by
        self.latest = np.full(batch, np.inf)  # |f(z) - z| at the last iterate
        self.residual = np.full(batch, np.inf)  # at `best`, as is the tolerance
        self.tolerance = np.full(batch, np.inf)
        self.status = np.full(batch, int(Status.MAX_STEPS))
        self.steps = np.zeros(batch, dtype=int)
        self.improved_at = np.zeros(batch, dtype=int)
        self.active = np.ones(batch, dtype=bool)
        self.all_active = True
        self.start: Array | None = None  # (B, K), the scale of z0 and f(z0)

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> bool:
        """Take note of f(z) = fz; return whether any row needs another step."""
        self.count += 1
        with np.errstate(all="ignore"):
            residuals, sizes = residual_norms(fz, z, self.blocks)
            if self.start is None:
                start = np.maximum(block_norms(z, self.blocks), sizes)
                # A block that is zero at z0 and at f(z0) may still move later: it takes the scale
                # of its row.
                self.start = np.where(start > 0, start, _norm(start)[:, None])
                self.cap = SCALE_CAP * self.start
            tolerances = self.rules.atol + self.rules.rtol * np.minimum(sizes, self.cap)
            self.latest, measure = _norm(residuals), self._measure(residuals)
            under_way = ((residuals > tolerances) & (sizes <= self.cap)).all()
            if self.all_active and under_way and (measure < self.least).all():
                # Every row runs and makes progress, and none is done.
                self.best, self.residual, self.tolerance = z, self.latest, _norm(tolerances)
                self.least = measure
                self.steps.fill(self.count)
                self.improved_at.fill(self.count)
            else:
                self._decide(z, residuals, sizes, tolerances)
        return self.count < self.rules.max_steps and bool(self.active.any())

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_active else choose_rows(self._mask(self.active), z_next, z)

    def iterate(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return z for the rows that still run, and their best iterate for the others."""
        return z if self.all_active else choose_rows(self._mask(self.active), z, self.best)

    def keep_only(self, rows: Array) -> None:
        """Forget all rows but these."""
        for name in ("least", "latest", "residual", "tolerance", "status", "steps", "improved_at"):
            setattr(self, name, getattr(self, name)[rows])
        self.active, self.all_active = self.active[rows], bool(self.active[rows].all())
        if self.start is not None:
            self.start, self.cap = self.start[rows], self.cap[rows]
        self.best = self.best[torch.from_numpy(rows).to(self.best.device)]

    def _decide(
        self, z: Float[Tensor, "B D"], residuals: Array, sizes: Array, tolerances: Array
    ) -> None:
        """Pass a verdict on each row that still runs."""
        far = sizes > self.cap
        if far.any():
            # Far out, f(z) - z is mostly rounding: an accelerated step may throw z to 1e16,
            # where z + 1 is z.
            rounding = np.where(far, torch.finfo(z.dtype).eps / 2 * sizes, 0.0)
            residuals = np.maximum(residuals, rounding)
        measure = self._measure(residuals)
        finite = np.isfinite(measure)
        # inf is within a tolerance of inf
        converged = self.active & (residuals <= tolerances).all(axis=1) & finite
        converged &= self.count >= self.rules.min_steps
        improved = self.active & finite & (measure < self.least)
        self.steps[self.active] = self.count
        self._keep(z, improved | converged, _norm(tolerances))
        self.least = np.where(improved, measure, self.least)
        self.improved_at[improved] = self.count
        verdict = np.full_like(self.status, int(Status.MAX_STEPS))
        verdict[self.count - self.improved_at >= self.rules.patience] = int(Status.STAGNATED)
        verdict[measure > DIVERGENCE * self.least] = int(Status.DIVERGED)
        verdict[~finite] = int(Status.NONFINITE)
        verdict[converged] = int(Status.CONVERGED)
        self.status = np.where(self.active, verdict, self.status)
        self.active = self.active & (verdict == Status.MAX_STEPS)
        self.all_active = bool(self.active.all())

    def _measure(self, residuals: Array) -> Array:
        """Return what iterates are ranked by; blocks of different scales count alike."""
        if residuals.shape[1] == 1:
            return _norm(residuals)
        assert self.start is not None
        return _norm(residuals / np.maximum(self.start, np.finfo(float).tiny))

    def _keep(self, z: Float[Tensor, "B D"], take: Array, tolerance: Array) -> None:
        """Remember z as the best iterate of the rows that `take` names."""
        self.residual = np.where(take, self.latest, self.residual)
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
