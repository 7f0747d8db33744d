"""Follows the rows of one eager solve: how each is judged, and what its best iterate is.

The rule is that of `criterion`, `verdicts` and `coupled_rows`. What is here saves time: while all
rows run and get better there is nothing else to find out, and the best iterates are copied only
when rows differ.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.linalg.arrays import Array, choose_rows, every, is_finite, known_none
from deqlab.solvers.loop.block_weights import without_scale
from deqlab.solvers.loop.compaction import Filed, rows_to_keep, take_rows
from deqlab.solvers.loop.coupled_rows import is_unproven, lost, remeasured, withdrawn
from deqlab.solvers.loop.criterion import Look, Rules, still_allowed
from deqlab.solvers.loop.evaluation import Iterate
from deqlab.solvers.loop.measuring import Measuring
from deqlab.solvers.loop.progress import CONVERGED, MAX_STEPS, is_lower
from deqlab.solvers.loop.verdicts import Verdicts, all_better, judge, of_each_row, unknown

FORESIGHT = 2.0
"""The end is expected for a residual of this many tolerances at the rate it fell last: to expect
it in vain costs a twentieth of an evaluation, to be surprised by it a whole one."""


class Convergence:
    """What is known of the rows in the loop after `count` iterates.

    Attributes:
        count: The number of iterates so far.
        best: (B, D), the best iterate of each row.
        measuring: The scales of the rows.
        look: The last iterate, measured.
        before: (B,), the measure of the iterate before.
        running: (B,) bool, the rows that still run.
        all_run: Whether all of them do.
    """

    look: Look  # from the first iterate on
    running: Bool[np.ndarray, " B"]
    all_run: bool
    _verdicts: Verdicts
    _unwritten: bool  # whether all rows got better since: `all_better` tells the rest

    def __init__(self, z: Float[Tensor, "B D"], rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.measuring = rules, Measuring(rules, blocks)
        self.count, self.best = 0, z
        self._note(unknown(np.empty(len(z))))
        self._status_before = self._verdicts.status  # before the last iterate
        self.before = self._verdicts.least

    @property
    def verdicts(self) -> Verdicts:
        """The verdicts on the rows in the loop."""
        if self._unwritten:
            self._verdicts = all_better(self._verdicts, self.look, self.count)
            self._unwritten = False
        return self._verdicts

    told = None  # the host knows all; see `OnDevice`

    def goes_on(self, asks: Callable[[], Array | None]) -> bool:
        """Return whether any row needs another step."""
        return self.count < self.rules.max_steps and not known_none(self.running)

    @property
    def fresh(self) -> Bool[np.ndarray, " B"]:
        """The rows that converged at the last iterate."""
        now, before = self._verdicts.status, self._status_before
        rows: np.ndarray = (now == CONVERGED) & (before != CONVERGED)
        return rows

    @property
    def revoked(self) -> Bool[np.ndarray, " B"]:
        """The rows that had converged before the last iterate, and have not now."""
        now, before = self._verdicts.status, self._status_before
        rows: np.ndarray = (before == CONVERGED) & (now != CONVERGED)
        return rows

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Iterate:
        """Take note of another iterate z, with f(z) = fz; return it for the method to step from."""
        self._status_before = self._verdicts.status
        if self.count:
            self.before = self.look.measure
        with np.errstate(all="ignore"):
            found = self.measuring.look(z, fz)
            least = self.before if self._unwritten else self._verdicts.least
            if self.all_run and every(
                is_lower(found.measure, least) & self.measuring.sure & ~found.within
            ):
                self.best, self._unwritten = z, True
            else:
                found = self._judge_each(z, fz, found)
        self.count, self.look = self.count + 1, found
        weights, resting = self.measuring.weights, None
        if self.measuring.scales.late is not None:
            resting = without_scale(self.measuring.scales.start, self.count)
        return Iterate(z, fz, self.running, found, weights, resting)

    def expects_last(self) -> bool:
        """Return whether the next iterate is likely to be the last."""
        if self.count + 1 >= self.rules.max_steps:
            return True
        if self.count < 2 or self.count + 1 < self.rules.min_steps:
            return False
        measure = self.look.measure
        with np.errstate(all="ignore"):
            allowed = still_allowed(self.look, self.measuring.bounds)
            expected = measure * (measure / self.before)
            return every((expected <= FORESIGHT * allowed) | ~self.running)

    def reopen(self, rows: Bool[np.ndarray, " B"], factor: Float[np.ndarray, " B"]) -> None:
        """Let rows that have converged go on, each to `factor` times its present residual."""
        if not known_none(rows):
            self.measuring.limit(rows, factor[:, None] * self.look.residuals)
            known = self.verdicts
            self._note(known._replace(status=np.where(rows, MAX_STEPS, known.status)))

    def settle(self, last: Iterate, f: Callable[[Tensor], Tensor] | None) -> None:
        """Make the verdicts true of the value, also where rows depend on each other.

        Args:
            last: The last iterate.
            f: The map, for one more evaluation where it is needed; None if the rows are known to be
                independent.
        """
        known, found = self.verdicts, self.look
        self._status_before, held = known.status, known.status == CONVERGED
        with np.errstate(all="ignore"):
            # A row by itself has the same residual to the bit.
            if not known_none(held & (found.residual != known.residual)):
                if not every(self.measuring.sure | ~held):
                    found = self.measuring.look_closely(last.z, last.fz)
                known = remeasured(known, found.residual, found.tolerance, held)
            if f is not None and not known_none(known.behind) and is_unproven(known):
                with torch.no_grad():
                    found = self.measuring.look_closely(self.best, f(self.best))
                finite = np.isfinite(known.residual)
                known = remeasured(known, found.residual, found.tolerance, finite)
        if known.coupled:
            known = withdrawn(known, self.count >= self.rules.max_steps)
        self._verdicts = known

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return z_next if self.all_run else choose_rows(self.running, z_next, z)

    def current(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return z for the rows that still run, and their best iterate for the others."""
        return z if self.all_run else choose_rows(self.running, z, self.best)

    def filed(self, beside: dict[str, Array]) -> Filed:
        """Return what the solve returns of the rows in the loop, with what the method reports."""
        return Filed(self.best, of_each_row(self.verdicts) | beside)

    def leaving(self) -> np.ndarray | None:
        """Return the rows to go on with if the others may leave; None if it is not worth it."""
        return rows_to_keep(self.running)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        self._note(take_rows(self.verdicts, rows))
        self.measuring.keep(rows)
        self.best, self.look, self.before = take_rows((self.best, self.look, self.before), rows)

    def _note(self, verdicts: Verdicts) -> None:
        self._verdicts, self._unwritten = verdicts, False
        self.running = verdicts.status == MAX_STEPS
        self.all_run = len(self.running) > 0 and every(self.running)

    def _judge_each(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], found: Look) -> Look:
        """Judge row by row, by this look or a closer one; return the one that was needed."""
        known = self.verdicts
        resumed = self._resumed(known, found)
        watched = self.running if resumed is None else self.running | resumed
        if not every((self.measuring.sure & is_finite(found.measure)) | ~watched):
            found = self.measuring.look_closely(z, fz)
            resumed = self._resumed(known, found)
        known, take = judge(
            known,
            found,
            self.count + 1,
            self.rules,
            resumed=resumed,
            unit=self.measuring.bounds.unit,
            late=self.measuring.scales.late,
            away=lambda: self.measuring.distances(z, self.best),
        )
        self._note(known)
        # A converged row stands still, so that z is its best iterate too: no copy is needed
        # while every row either gains or has converged.
        if every(take | (known.status == CONVERGED)):
            self.best = z
        elif not known_none(take):
            self.best = choose_rows(take, z, self.best)
        return found

    def _resumed(self, known: Verdicts, found: Look) -> Bool[np.ndarray, " B"] | None:
        """Return the converged rows that run again; None for none of them."""
        if self.all_run:
            return None
        rows = lost(known, found)
        return None if known_none(rows) else rows
