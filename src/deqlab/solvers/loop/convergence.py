"""Follows the rows of one eager solve: how each is measured, judged, and what its best iterate is.

The rule is that of `criterion` and `verdicts`. What is here saves time: norms are summed in the
precision of the state, and exactly only where these sums may be wrong; while all rows run and get
better there is nothing else to find out; and the best iterates are copied only when rows differ.

Measures and verdicts live on the host, in numpy, where an operation on them costs a tenth of
torch's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.linalg.arrays import Array, choose_rows, every, is_finite, known_none
from deqlab.linalg.norms import block_norms, residual_norms, sure_above
from deqlab.solvers.loop.compaction import Filed, take_rows
from deqlab.solvers.loop.criterion import (
    Bounds,
    Look,
    Rules,
    Scales,
    bounds_of,
    compare,
    in_units,
    look,
    scales_at_start,
)
from deqlab.solvers.loop.evaluation import Iterate
from deqlab.solvers.loop.progress import is_lower
from deqlab.solvers.loop.verdicts import (
    CONVERGED,
    MAX_STEPS,
    Verdicts,
    all_better,
    is_unproven,
    judge,
    lost,
    remeasured,
    unknown,
    withdrawn,
)
from deqlab.solvers.loop.weights import weights, without_scale

FORESIGHT = 2.0
"""The end is expected for a residual of this many tolerances at the rate it fell last: to expect
it in vain costs a twentieth of an evaluation, to be surprised by it a whole one."""


EVERYWHERE = np.True_


class Convergence:
    """What is known of the rows in the loop after `count` iterates.

    Attributes:
        count: The number of iterates so far.
        best: (B, D), the best iterate of each row.
        look: The last iterate, measured.
        before: (B,), the measure of the iterate before.
        residuals: (B, K), |f(z) - z| at the last iterate in each block, summed fast.
        running: (B,) bool, the rows that still run.
        all_run: Whether all of them do.
        weights: (B, D), what brings blocks of different scales to one; None for one block.
    """

    def __init__(self, z: Float[Tensor, "B D"], rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.blocks = rules, blocks
        self.count = 0
        self.best = z
        self.running = np.ones(len(z), dtype=bool)
        self.all_run = len(z) > 0
        self._verdicts = unknown(np.empty(len(z)))
        self._unwritten = False  # whether all rows got better since, and nothing else was noted
        self._status_before = self._verdicts.status  # before the last iterate
        self.before = self._verdicts.least
        self.weights: Tensor | None = None
        # What the first iterate brings.
        self.look: Look
        self.residuals: Array
        self.scales: Scales
        self.bounds: Bounds
        self.sure: Array  # where the fast sums of the last iterate were right
        self.doubtful: Array | float  # residuals up to it are summed exactly

    @property
    def verdicts(self) -> Verdicts:
        """The verdicts on the rows in the loop."""
        if self._unwritten:
            self._verdicts = all_better(self._verdicts, self.look, self.count)
            self._unwritten = False
        return self._verdicts

    @property
    def goes_on(self) -> bool:
        """Whether any row needs another step."""
        return self.count < self.rules.max_steps and not known_none(self.running)

    @property
    def fresh(self) -> Bool[np.ndarray, " B"]:
        """The rows that converged at the last iterate."""
        return (self._verdicts.status == CONVERGED) & (self._status_before != CONVERGED)

    @property
    def revoked(self) -> Bool[np.ndarray, " B"]:
        """The rows that had converged before the last iterate, and have not now."""
        return (self._status_before == CONVERGED) & (self._verdicts.status != CONVERGED)

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> None:
        """Take note of another iterate z, with f(z) = fz."""
        self._status_before = self._verdicts.status
        with np.errstate(all="ignore"):
            self.residuals, sizes = residual_norms(fz, z, self.blocks)
            if self.count == 0:
                self._begin(z, fz, sizes)
            else:
                self.before = self.look.measure
            found = compare(self.residuals, sizes, self.bounds, self.rules)
            sure = self._sure(self.residuals, sizes)
            if self.all_run and every(self._better(found) & sure & ~found.within):
                self.best, self._unwritten = z, True
            else:
                found, sure = self._judge_each(z, fz, found, sure)
        self.count, self.look, self.sure = self.count + 1, found, sure

    def _better(self, found: Look) -> Bool[np.ndarray, " B"]:
        """Return the rows that made progress because this is their best iterate."""
        return is_lower(found.measure, self.before if self._unwritten else self._verdicts.least)

    def _judge_each(
        self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], found: Look, sure: Array
    ) -> tuple[Look, Array]:
        """Judge row by row; return the look that this was done by, and where it was sure."""
        known = self.verdicts
        resumed = self._resumed(known, found)
        watched = self.running if resumed is None else self.running | resumed
        if not every((sure & is_finite(found.measure)) | ~watched):
            found, sure = self._look_closely(z, fz), EVERYWHERE
            resumed = self._resumed(known, found)
        known, take = judge(
            known,
            found,
            self.count + 1,
            self.rules,
            resumed=resumed,
            unit=self.bounds.unit,
            away=lambda: block_norms(z.detach() - self.best.detach(), self.blocks),
        )
        self._note(known)
        # A converged row stands still, so that z is its best iterate too: no copy is needed
        # while every row either gains or has converged.
        if every(take | (known.status == CONVERGED)):
            self.best = z
        elif not known_none(take):
            self.best = choose_rows(take, z, self.best)
        return found, sure

    def expects_last(self) -> bool:
        """Return whether the next iterate is likely to be the last."""
        if self.count + 1 >= self.rules.max_steps:
            return True
        if self.count < 2 or self.count + 1 < self.rules.min_steps:
            return False
        measure, allowed = self.look.measure, self.look.allowed
        with np.errstate(all="ignore"):
            if self.bounds.limit is not None:  # it may be newer than the look
                allowed = np.fmin(allowed, in_units(self.bounds.limit, self.bounds.unit))
            expected = measure * (measure / self.before)
            return every((expected <= FORESIGHT * allowed) | ~self.running)

    def reopen(self, rows: Bool[np.ndarray, " B"], factor: Float[np.ndarray, " B"]) -> None:
        """Let rows that have converged go on, each to `factor` times its present residual."""
        if known_none(rows):
            return
        limit = self.bounds.limit
        limit = np.full_like(self.residuals, np.inf) if limit is None else limit
        limit = np.where(rows[:, None], factor[:, None] * self.residuals, limit)
        self.bounds = self.bounds._replace(limit=limit)
        known = self.verdicts
        self._note(known._replace(status=np.where(rows, MAX_STEPS, known.status)))

    def settle(
        self,
        z: Float[Tensor, "B D"],
        fz: Float[Tensor, "B D"],
        f: Callable[[Tensor], Tensor] | None,
    ) -> None:
        """Make the verdicts true of the value, also where rows depend on each other.

        Args:
            z: The last iterate.
            fz: Its image.
            f: The map, for one more evaluation where it is needed; None if the rows are known to be
                independent.
        """
        known = self.verdicts
        self._status_before = known.status
        held = known.status == CONVERGED
        with np.errstate(all="ignore"):
            # A row by itself has the same residual to the bit.
            if not known_none(held & (self.look.residual != known.residual)):
                again = self.look if every(self.sure | ~held) else self._look_closely(z, fz)
                known = remeasured(known, again.residual, again.tolerance, held)
            if f is not None and is_unproven(known):
                with torch.no_grad():
                    again = self._look_closely(self.best, f(self.best))
                finite = np.isfinite(known.residual)
                known = remeasured(known, again.residual, again.tolerance, finite)
        self._note(withdrawn(known, self.count >= self.rules.max_steps))

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_run else choose_rows(self.running, z_next, z)

    def current(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return z for the rows that still run, and their best iterate for the others."""
        return z if self.all_run else choose_rows(self.running, z, self.best)

    def iterate(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Iterate:
        """Return the iterate that was judged last, for the method to step from."""
        resting = None
        if self.scales.late is not None:
            resting = without_scale(self.scales.start, self.count)
        return Iterate(z, fz, self.running, self.look, self.weights, resting)

    def filed(self) -> Filed:
        """Return what the solve returns of the rows in the loop."""
        known = self.verdicts
        return Filed(self.best, known.residual, known.tolerance, known.status, known.steps)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        self.best, self.weights = take_rows((self.best, self.weights), rows)
        self.look, self.before = take_rows((self.look, self.before), rows)
        self.scales, self.bounds = take_rows((self.scales, self.bounds), rows)
        self.residuals, self.sure = take_rows((self.residuals, self.sure), rows)
        self.doubtful = take_rows(self.doubtful, rows)
        self._note(take_rows(self.verdicts, rows))

    def _note(self, verdicts: Verdicts) -> None:
        self._verdicts, self._unwritten = verdicts, False
        self.running = verdicts.status == MAX_STEPS
        self.all_run = every(self.running)

    def _begin(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], sizes: Array) -> None:
        """Take the scale of each block from the start, given |f(z0)| as it was summed fast."""
        self.doubtful = sure_above(z.dtype)
        if not ((sizes > self.doubtful) & (sizes < np.inf)).all():
            sizes = block_norms(fz, self.blocks)
        self.scales = scales_at_start(block_norms(z, self.blocks), sizes)
        if self.scales.start.all():
            self.scales = self.scales._replace(late=None)
        else:
            self.doubtful = np.where(self.scales.late, np.inf, self.doubtful)
        self.bounds = bounds_of(self.scales, self.rules)
        self.weights = weights(self.scales.start, z, self.blocks)

    def _sure(self, residuals: Array, sizes: Array) -> Bool[np.ndarray, " B"]:
        """Return the rows where sums in the precision of the state tell all."""
        sure: np.ndarray = np.logical_and(sizes <= self.bounds.cap, residuals > self.doubtful)
        return sure.ravel() if sure.shape[1] == 1 else np.logical_and.reduce(sure, axis=1)

    def _look_closely(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
        """Measure where sums overflow or vanish, and where z is far out or a block was at rest."""
        residuals = block_norms(fz.detach() - z.detach(), self.blocks)
        sizes = block_norms(fz, self.blocks)
        self.scales, self.bounds, found = look(
            self.scales, self.bounds, residuals, sizes, self.rules
        )
        if found.woken is None or known_none(found.woken):
            return found._replace(woken=None)
        self.weights = weights(self.scales.start, z, self.blocks)
        return found

    def _resumed(self, known: Verdicts, found: Look) -> Bool[np.ndarray, " B"] | None:
        """Return the converged rows that run again; None for none of them."""
        if self.all_run:
            return None
        rows = lost(known, found)
        return None if known_none(rows) else rows
