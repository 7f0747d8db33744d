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
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from deqlab.solution import Status
from deqlab.state import block_norms, choose_rows, residual_norms

Array: TypeAlias = NDArray[Any]

SCALE_CAP = 10.0
"""How far |f(z)| may outgrow the start and still loosen the tolerance."""

DIVERGENCE = 1e8
"""A residual this many times its minimum is not a transient: even the steep nilpotent maps of
sawtooth constructions grow only to about 2^D before they collapse."""


FORESIGHT = 2.0
"""The end is expected for a residual of this many tolerances at the rate it fell last: to expect
it in vain costs a twentieth of an evaluation, to be surprised by it a whole one."""

NONE = np.zeros(0, dtype=bool)

SURE = 1e-15
"""Above it, and up to where it overflows, a norm summed in float32 is right."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a row is held to; see `Solver` for their meaning."""

    rtol: float
    atol: float
    min_steps: int
    max_steps: int
    patience: int
    divergence: float = DIVERGENCE


class Look(NamedTuple):
    """One iterate of every row, measured; (B,) each."""

    residual: Array  # |f(z) - z|
    tolerance: Array
    measure: Array  # what iterates are ranked by; blocks of different scales count alike
    within: Array  # whether every block is within its tolerance
    sure: Array  # whether float32 told all that


class Monitor:
    """Follows the rows of one solve: which still run, what each row's best iterate is."""

    def __init__(self, z: Float[Tensor, "B D"], rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.blocks = rules, blocks
        batch = z.shape[0]
        self.count = 0  # iterates judged so far
        self.best = z
        self.least = np.full(batch, np.inf)  # the measure of `best`
        self.latest = self.before = self.least  # |f(z) - z| at the last iterate, and one earlier
        self.look = Look(*(self.least,) * 3, self.least > 0, self.least > 0)  # at it, the rest
        self.residual = self.least  # at `best`, as is the tolerance
        self.tolerance = self.least
        self.status = np.full(batch, int(Status.MAX_STEPS))
        self.steps = np.zeros(batch, dtype=int)
        self.improved_at = np.zeros(batch, dtype=int)
        self.active = np.ones(batch, dtype=bool)
        self.all_active = batch > 0
        self.fresh = np.zeros(batch, dtype=bool)  # rows that converged at the last iterate
        self.start: Array | None = None  # (B, K), the scale of z0 and f(z0)
        self.cap = self.least  # (B, K), what of |f(z)| may loosen the tolerance
        self.limit: Array | None = None  # (B, K), tolerances of rows that were reopened
        self.residuals = self.least  # (B, K), |f(z) - z| at the last iterate, block by block

    @property
    def goes_on(self) -> bool:
        """Whether any row needs another step."""
        return self.count < self.rules.max_steps and _any(self.active)

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> bool:
        """Take note of f(z) = fz; return whether any row needs another step."""
        self.count += 1
        self.before = self.latest
        with np.errstate(all="ignore"):
            self.residuals, sizes = residual_norms(fz, z, self.blocks)
            if self.start is None:
                self._begin(z, fz, sizes)
            look = self._look(self.residuals, sizes)
            gains = look.measure < self.least
            if self.all_active and _all(gains & look.sure & ~look.within):
                # Every row runs and makes progress, and none is done.
                self.best, self.tolerance = z, look.tolerance
                self.latest = self.residual = look.residual
                self.least = look.measure
                self.steps.fill(self.count)
                self.improved_at.fill(self.count)
                self.fresh, self.look = NONE, look
                return self.count < self.rules.max_steps
            if not _all(look.sure | ~self.active):
                look = self._look_closely(z, fz)
            self.latest, self.look = look.residual, look
            self._decide(z, look)
        return self.goes_on

    def foresees_the_end(self) -> bool:
        """Return whether the next iterate is likely to be the last."""
        if self.count + 1 >= self.rules.max_steps:
            return True
        if self.count < 2 or self.count + 1 < self.rules.min_steps:
            return False
        tolerance = self.look.tolerance
        if self.limit is not None:
            tolerance = np.fmin(tolerance, np.linalg.norm(self.limit, axis=1))
        with np.errstate(all="ignore"):
            expected = self.latest * (self.latest / self.before)
            return _all((expected <= FORESIGHT * tolerance) | ~self.active)

    def reopen(self, rows: Array, factor: Array) -> None:
        """Let rows that have converged go on, each to `factor` times its present residual."""
        if _any(rows):
            if self.limit is None:
                self.limit = np.full_like(self.residuals, np.inf, dtype=float)
            self.limit[rows] = factor[rows, None] * self.residuals[rows]
            self.status[rows] = Status.MAX_STEPS
            self.active = self.active | rows
            self.all_active = _all(self.active)

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_active else choose_rows(self.active, z_next, z)

    def iterate(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return z for the rows that still run, and their best iterate for the others."""
        return z if self.all_active else choose_rows(self.active, z, self.best)

    def weights(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return one over the scale of each block at the start, for each number of the state."""
        assert self.start is not None
        scale = np.where(self.start > 0, self.start, 1.0)
        each = torch.from_numpy(1 / scale).to(z)
        return each.repeat_interleave(torch.tensor(self.blocks, device=z.device), dim=1)

    def keep_only(self, rows: Array) -> None:
        """Forget all rows but these."""
        for name, known in vars(self).items():
            if isinstance(known, np.ndarray) and len(known):
                setattr(self, name, known[rows])
        self.look = Look(*(part[rows] for part in self.look))
        self.all_active = _all(self.active)
        self.best = self.best[torch.from_numpy(rows).to(self.best.device)]

    def _begin(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], sizes: Array) -> None:
        """Take the scale of each block from the start."""
        if not ((sizes > SURE) & (sizes < np.inf)).all():
            sizes = block_norms(fz, self.blocks)
        start = np.maximum(block_norms(z, self.blocks), sizes)
        if not start.all():
            # A block that is zero at z0 and at f(z0) may still move later: it takes the scale of
            # its row.
            start = np.where(start > 0, start, np.linalg.norm(start, axis=1)[:, None])
        self.start, self.cap = start, SCALE_CAP * start

    def _look(self, residuals: Array, sizes: Array) -> Look:
        """Measure an iterate by its residuals and sizes, (B, K) each."""
        tolerances = self.rules.atol + self.rules.rtol * np.minimum(sizes, self.cap)
        if self.limit is not None:
            tolerances = np.minimum(tolerances, self.limit)
        sure: Array = np.logical_and(sizes <= self.cap, residuals > SURE)
        within: Array = np.less_equal(residuals, tolerances)
        if residuals.shape[1] == 1:
            residual = residuals.ravel()
            return Look(residual, tolerances.ravel(), residual, within.ravel(), sure.ravel())
        assert self.start is not None
        relative = residuals / np.maximum(self.start, np.finfo(float).tiny)
        residual, tolerance, measure = (
            np.linalg.norm(part, axis=1) for part in (residuals, tolerances, relative)
        )
        every = np.logical_and.reduce
        return Look(residual, tolerance, measure, every(within, axis=1), every(sure, axis=1))

    def _look_closely(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
        """Measure in float64, where float32 overflows or vanishes, and where z is far out."""
        residuals = block_norms(fz.detach() - z.detach(), self.blocks)
        sizes = block_norms(fz, self.blocks)
        exact = self._look(residuals, sizes)
        # Far out, f(z) - z is mostly rounding: an accelerated step may throw z to 1e16, where
        # z + 1 is z.
        rounding = np.where(sizes > self.cap, torch.finfo(z.dtype).eps / 2 * sizes, 0.0)
        counted = self._look(np.maximum(residuals, rounding), sizes)
        self.latest = exact.residual
        return counted._replace(residual=exact.residual)

    def _decide(self, z: Float[Tensor, "B D"], look: Look) -> None:
        """Pass a verdict on each row that still runs."""
        gains = self.active & (look.measure < self.least)  # false for nan
        # inf is within a tolerance of inf
        done = self.active & look.within & np.isfinite(look.measure)
        if self.count < self.rules.min_steps:
            done[:] = False
        self.fresh, take = done, gains | done
        rest = self.active & ~take
        self.steps[self.active] = self.count
        self.improved_at[gains] = self.count
        self.residual = np.where(take, look.residual, self.residual)
        self.tolerance = np.where(take, look.tolerance, self.tolerance)
        self.least = np.where(gains, look.measure, self.least)
        self.status[done] = Status.CONVERGED
        self.active = self.active & ~done
        if _any(rest):
            self._give_up(look, rest)
        self.all_active = _all(self.active)
        # A converged row stands still, so that z is its best iterate too: no copy is needed
        # while every row either gains or has converged.
        if _all(take | (self.status == Status.CONVERGED)):
            self.best = z
        elif _any(take):
            self.best = choose_rows(take, z, self.best)

    def _give_up(self, look: Look, rows: Array) -> None:
        """Pass a verdict on these rows, which did not get better."""
        verdict = np.full_like(self.status, int(Status.MAX_STEPS))
        verdict[self.count - self.improved_at >= self.rules.patience] = int(Status.STAGNATED)
        verdict[look.measure > self.rules.divergence * self.least] = int(Status.DIVERGED)
        verdict[~np.isfinite(look.measure)] = int(Status.NONFINITE)
        self.status = np.where(rows, verdict, self.status)
        self.active &= self.status == Status.MAX_STEPS


def _all(mask: Array) -> bool:
    # Four times faster than mask.all() on what fits a batch.
    return int(np.count_nonzero(mask)) == mask.size


def _any(mask: Array) -> bool:
    return bool(np.count_nonzero(mask))
