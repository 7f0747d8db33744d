"""The verdict on each row of a solve, by the criterion of `criterion`.

A row runs until it is within its tolerance (CONVERGED), or until nothing is to be hoped for:

- STAGNATED: for `patience` iterates it has made no progress, see `progress`.
- DIVERGED: its residual has grown by 1e29, over many steps, and grows on.
- NONFINITE: f(z) is not finite.

A finished row is held where it is, and f is evaluated there with the others. If f couples the rows,
a row that has converged may be out of its tolerance later: it then runs again (see `coupling` for
the end of such a solve). Where f does not, a row held still has the same f(z) each time.

The verdicts live on the host, in numpy, where an operation on them costs a tenth of torch's.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.linalg.arrays import choose_rows
from deqlab.linalg.norms import residual_norms
from deqlab.solution import Status
from deqlab.solvers.loop.criterion import Array, Criterion, Look, Rules, has_changed
from deqlab.solvers.loop.progress import Course, advance, grows_without_bound, is_lower

FORESIGHT = 2.0
"""The end is expected for a residual of this many tolerances at the rate it fell last: to expect
it in vain costs a twentieth of an evaluation, to be surprised by it a whole one."""

NONE = np.zeros(0, dtype=bool)

CONVERGED, MAX_STEPS, STAGNATED, DIVERGED, NONFINITE = map(int, Status)
"""As numbers: numpy takes five times longer to compare with a member of an enumeration."""


class Monitor:
    """Follows the rows of one solve: which still run, what each row's best iterate is."""

    def __init__(self, z: Float[Tensor, "B D"], rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.blocks = rules, blocks
        batch = z.shape[0]
        self.count = 0  # iterates judged so far
        self.best = z
        self.least = np.full(batch, np.inf)  # the measure of `best`
        self.course = Course(self.least, self.least, self.least)
        self.latest = self.before = self.least  # |f(z) - z| at the last iterate; the measure before
        never = np.zeros(batch, dtype=bool)
        self.look = Look(*(self.least,) * 3, never, never, self.least)  # at the last iterate
        self.residual = self.least  # at `best`, as is the tolerance
        self.tolerance = self.least
        self.status = np.full(batch, MAX_STEPS)
        self.steps = np.zeros(batch, dtype=int)
        self.improved_at = np.zeros(batch, dtype=int)  # the last iterate that was progress
        self.least_at = self.improved_at  # the last iterate that was the best so far
        self.active = np.ones(batch, dtype=bool)
        self.all_active = batch > 0
        self.fresh = np.zeros(batch, dtype=bool)  # rows that converged at the last iterate
        self.resumed = NONE  # rows that had converged, and run again since the last iterate
        self.coupled = False  # whether a row was seen to depend on others
        self.behind = NONE  # rows whose best iterate is an earlier one; NONE for none of them
        self.rescaled = False  # whether a block got its scale at the last iterate
        self.criterion: Criterion | None = None
        self.residuals = self.least  # (B, K), |f(z) - z| at the last iterate, block by block

    @property
    def goes_on(self) -> bool:
        """Whether any row needs another step."""
        return self.count < self.rules.max_steps and _any(self.active)

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> bool:
        """Take note of f(z) = fz; return whether any row needs another step."""
        self.count += 1
        self.before, self.rescaled, moved = self.look.measure, False, None
        with np.errstate(all="ignore"):
            self.residuals, sizes = residual_norms(fz, z, self.blocks)
            criterion = self.criterion or self._begin(z, fz, sizes)
            look = criterion.look(self.residuals, sizes)
            clear = is_lower(look.measure, self.least)
            if self.all_active and _all(clear & look.sure & ~look.within):
                # Every row runs and makes progress, and none is done.
                self.best, self.tolerance = z, look.tolerance
                self.latest = self.residual = look.residual
                self.least = look.measure
                self.course = Course(self.least, self.least, self.least)
                self.steps.fill(self.count)
                self.improved_at.fill(self.count)
                self.least_at = self.improved_at
                self.fresh = self.resumed = self.behind = NONE
                self.look = look
                return self.count < self.rules.max_steps
            lost = self._lost(look)
            watched = self.active if lost is None else self.active | lost
            if not _all((look.sure & np.isfinite(look.measure)) | ~watched):
                look, moved = criterion.look_closely(z, fz)
                lost = self._lost(look)
            self._resume(lost)
            if moved is not None:
                self._rebase(moved & self.active)
            self.latest, self.look = look.residual, look
            self._decide(z, look)
        return self.goes_on

    def foresees_the_end(self) -> bool:
        """Return whether the next iterate is likely to be the last."""
        if self.count + 1 >= self.rules.max_steps:
            return True
        if self.count < 2 or self.count + 1 < self.rules.min_steps or self.criterion is None:
            return False
        measure, allowed = self.look.measure, self.criterion.limited(self.look.allowed)
        with np.errstate(all="ignore"):
            expected = measure * (measure / self.before)
            return _all((expected <= FORESIGHT * allowed) | ~self.active)

    def reopen(self, rows: Array, factor: Array) -> None:
        """Let rows that have converged go on, each to `factor` times its present residual."""
        if _any(rows):
            assert self.criterion is not None
            self.criterion.hold_to(rows, factor[:, None] * self.residuals)
            self._run_again(rows)

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_active else choose_rows(self.active, z_next, z)

    def iterate(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return z for the rows that still run, and their best iterate for the others."""
        return z if self.all_active else choose_rows(self.active, z, self.best)

    def keep_only(self, rows: Array) -> None:
        """Forget all rows but these."""
        for name, known in vars(self).items():
            if isinstance(known, np.ndarray) and len(known):
                setattr(self, name, known[rows])
        self.look = Look(*(part[rows] for part in self.look))
        self.course = Course(*(part[rows] for part in self.course))
        if self.criterion is not None:
            self.criterion.keep_only(rows)
        self.all_active = _all(self.active)
        self.best = self.best[torch.from_numpy(rows).to(self.best.device)]

    def _begin(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], sizes: Array) -> Criterion:
        """Take the scale of each block from the start."""
        self.criterion, self.rescaled = Criterion(z, fz, sizes, self.rules, self.blocks), True
        return self.criterion

    def _rebase(self, rows: Array) -> None:
        """Rank the iterates of these rows anew: a block that was at rest counts from now on."""
        self.rescaled = True
        self._forget_best(rows)

    def _run_again(self, rows: Array) -> None:
        self.status[rows] = MAX_STEPS
        self.active = self.active | rows
        self.all_active = _all(self.active)

    def _lost(self, look: Look) -> Array | None:
        """Return the converged rows that other rows have carried out of their tolerance, if any."""
        if self.all_active:
            return None
        rows = (self.status == CONVERGED) & (look.residual != self.residual)
        if not _any(rows):  # a row by itself has the same residual to the bit
            return None
        rows &= ~look.within & has_changed(look.residual, self.residual)
        return rows if _any(rows) else None

    def _resume(self, rows: Array | None) -> None:
        """Let these rows, which had converged, run again."""
        self.resumed = NONE
        if rows is not None:
            self.resumed, self.coupled = rows, True
            self._forget_best(rows)
            self._run_again(rows)

    def _forget_best(self, rows: Array) -> None:
        self.least = np.where(rows, np.inf, self.least)
        self.course = self.course._replace(low=np.where(rows, np.inf, self.course.low))

    def _decide(self, z: Float[Tensor, "B D"], look: Look) -> None:
        """Pass a verdict on each row that still runs."""
        active = self.active
        gains = active & (look.measure < self.least)  # false for nan
        done = active & look.within & np.isfinite(look.measure)  # inf is within inf
        if self.count < self.rules.min_steps:
            done[:] = False
        self.fresh, take = done, gains | done
        rest = active & ~take
        any_rest = _any(rest)
        if any_rest or len(self.behind):
            self.behind = np.where(active, rest, self.behind if len(self.behind) else False)
        self.steps[active] = self.count
        self.residual = np.where(take, look.residual, self.residual)
        self.tolerance = np.where(take, look.tolerance, self.tolerance)
        self.least = np.where(gains, look.measure, self.least)
        self._note_progress(z, look.measure, gains, rest)
        self.status[done] = CONVERGED
        self.active = active & ~done
        if any_rest or _any(self.active & (self.improved_at < self.count)):
            self._give_up(look)
        self.all_active = _all(self.active)
        # A converged row stands still, so that z is its best iterate too: no copy is needed
        # while every row either gains or has converged.
        if _all(take | (self.status == CONVERGED)):
            self.best = z
        elif _any(take):
            self.best = choose_rows(take, z, self.best)

    def _note_progress(
        self, z: Float[Tensor, "B D"], measure: Array, gains: Array, rest: Array
    ) -> None:
        """Note which rows have made progress; `rest` are those that found no better iterate."""
        any_rest, lower = _any(rest), is_lower(measure, self.course.low)
        if not any_rest and self.improved_at is self.least_at and _all(lower | ~gains):
            self.course = Course(self.least, self.least, self.least)
            self.improved_at[gains] = self.count
            return
        distance, criterion = None, self.criterion
        if self.rules.takes_back or criterion is None:
            rest = np.zeros_like(rest)
        elif any_rest:
            rest = rest & (measure > criterion.rounding())
            distance = criterion.distance(z, self.best)
        self.course, progress = advance(self.course, measure, gains, rest, distance)
        self.least_at = np.where(gains, self.count, self.least_at)
        self.improved_at = np.where(progress, self.count, self.improved_at)

    def _give_up(self, look: Look) -> None:
        """Pass a verdict on the rows that still run."""
        still = self.count - self.improved_at >= self.rules.patience
        verdict = np.where(still, STAGNATED, MAX_STEPS)
        if not self.rules.takes_back:
            ages = self.count - self.least_at
            verdict[grows_without_bound(look.measure, self.before, self.least, ages)] = DIVERGED
        verdict[~np.isfinite(look.measure)] = NONFINITE
        self.status = np.where(self.active, verdict, self.status)
        self.active &= self.status == MAX_STEPS


def _all(mask: Array) -> bool:
    # Four times faster than mask.all() on what fits a batch.
    return int(np.count_nonzero(mask)) == mask.size


def _any(mask: Array) -> bool:
    return bool(np.count_nonzero(mask))
