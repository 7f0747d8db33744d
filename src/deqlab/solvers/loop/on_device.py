"""Follows the rows of a solve on a device that the host does not wait for.

The verdict on each row, by the rule of `criterion`, `verdicts` and `coupled_rows`, is a program on
the device: tensors go in and come out, and nobody looks at a number. Finished rows are held by
masks. The host looks now and then (see `Lookout`), so that a solve may run a few iterations past
its end, in which nothing moves: values, verdicts and steps are those of `convergence`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from deqlab.linalg.arrays import Array
from deqlab.linalg.norms import traceable_block_norms
from deqlab.maps.matrix_map import MatrixMap
from deqlab.solvers.loop.block_weights import traceable_weights, without_scale
from deqlab.solvers.loop.compaction import Filed, rows_to_keep, take_rows
from deqlab.solvers.loop.coupled_rows import is_unproven, lost, remeasured, withdrawn
from deqlab.solvers.loop.criterion import (
    Bounds,
    Look,
    Rules,
    Scales,
    bounds_of,
    limited,
    look,
    scales_at_start,
    still_allowed,
)
from deqlab.solvers.loop.evaluation import Iterate
from deqlab.solvers.loop.progress import CONVERGED, MAX_STEPS
from deqlab.solvers.loop.verdicts import Verdicts, judge, of_each_row, unknown

STRIDE = 8
"""Iterations to one look of the host, in the long run."""

AT_ONCE = 2
"""Looks that a solve may take whenever they are due, however short it is."""

FIRST = 3
"""The iterate of the first look: from there on a rate is known."""

SPAN = 3
"""Iterates over which the rate is measured that says when to look."""


class Lookout:
    """When the host looks.

    A look waits for the device, so that there are at most `AT_ONCE` + n / `STRIDE` of them after n
    iterations. Each says when the next one is due: where the last row is expected to end.

    Attributes:
        due: The iterate after which the host looks next.
    """

    def __init__(self, first: int) -> None:
        self.due, self._looks = max(FIRST, first), 0

    def plan(self, count: int, ahead: float) -> None:
        """Take note of a look.

        Args:
            count: The iterate that was looked at.
            ahead: How many more iterations are expected; inf or nan where nobody knows.
        """
        self._looks += 1
        stride = min(STRIDE, ceil(ahead)) if 0 < ahead < STRIDE else STRIDE
        self.due = max(count + stride, STRIDE * (self._looks + 1 - AT_ONCE))


class MeasuringOnDevice:
    """What `Measuring` is: the scales of the rows in the loop, and what follows from them.

    Attributes:
        scales: The scale of each block of each row; from the first iterate on.
        bounds: What follows from it; from the first iterate on.
    """

    scales: Scales
    bounds: Bounds
    sure = np.ones(1, dtype=bool)  # norms are right at every scale

    def __init__(self, rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.blocks = rules, blocks
        self._begun = False

    def look(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
        """Measure an iterate."""
        sizes = traceable_block_norms(fz, self.blocks)
        if not self._begun:
            self.scales = scales_at_start(traceable_block_norms(z, self.blocks), sizes)
            self.bounds, self._begun = bounds_of(self.scales, self.rules), True
        residuals = self.distances(fz, z)
        self.scales, self.bounds, found = look(
            self.scales, self.bounds, residuals, sizes, self.rules
        )
        return found

    look_closely = look

    def distances(
        self, z: Float[Tensor, "B D"], other: Float[Tensor, "B D"]
    ) -> Float64[Tensor, "B K"]:
        """Return how far two points are from each other in each block."""
        return traceable_block_norms(z.detach() - other.detach(), self.blocks)

    def limit(self, rows: Bool[Tensor, " B"], to: Float64[Tensor, "B K"]) -> None:
        """Hold these rows to this residual in each block as well."""
        self.bounds = limited(self.bounds, rows, to)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        self.scales, self.bounds = take_rows((self.scales, self.bounds), rows)


class OnDevice:
    """What is known of the rows in the loop after `count` iterates; see `Convergence`.

    Attributes:
        count: The number of iterates so far.
        best: (B, D), the best iterate of each row.
        measuring: The scales of the rows.
        look: The last iterate, measured.
        verdicts: The verdicts on the rows in the loop.
    """

    look: Look  # from the first iterate on
    _status_before: Tensor  # before the last iterate

    def __init__(self, z: Float[Tensor, "B D"], rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.measuring = rules, MeasuringOnDevice(rules, blocks)
        self.verdicts = unknown(torch.empty(len(z), dtype=torch.float64, device=z.device))
        self.count, self.best = 0, z
        self._lookout = Lookout(rules.min_steps)
        self._measures: deque[Tensor] = deque(maxlen=SPAN)  # of the last iterates
        # Known after a look only: the rows that run, whether f was ever evaluated at the best
        # iterates together, and whether these are the last one.
        self._seen: np.ndarray | None = None
        self._unproven = self._at_value = self._all_ended = False
        self.told: np.ndarray | None = None  # what the method asked, likewise

    def goes_on(self, asks: Callable[[], Tensor | None]) -> bool:
        """Return whether any row needs another step, as far as the host shall know by now.

        Args:
            asks: Returns what the method wants to know of each row when the host looks.
        """
        self._seen = self.told = None
        if self.count >= self.rules.max_steps or self._all_ended:
            return False
        if self.count < self._lookout.due:
            return True
        return bool(self._look(asks()).any())

    @property
    def running(self) -> Bool[Tensor, " B"]:
        """The rows that still run."""
        running: Tensor = self.verdicts.status == MAX_STEPS
        return running

    @property
    def fresh(self) -> Bool[Tensor, " B"]:
        """The rows that converged at the last iterate."""
        rows: Tensor = (self.verdicts.status == CONVERGED) & (self._status_before != CONVERGED)
        return rows

    @property
    def revoked(self) -> Bool[Tensor, " B"]:
        """The rows that had converged before the last iterate, and have not now."""
        rows: Tensor = (self._status_before == CONVERGED) & (self.verdicts.status != CONVERGED)
        return rows

    def judge(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Iterate:
        """Take note of another iterate z, with f(z) = fz; return it for the method to step from."""
        point, image = z.detach(), fz.detach()
        self.count, self._status_before = self.count + 1, self.verdicts.status
        self.look = self.measuring.look(point, image)
        self.verdicts, take = judge(
            self.verdicts,
            self.look,
            self.count,
            self.rules,
            resumed=lost(self.verdicts, self.look),
            unit=self.measuring.bounds.unit,
            late=self.measuring.scales.late,
            away=lambda: self.measuring.distances(point, self.best),
        )
        self._measures.append(self.look.measure)
        self.best = torch.where(take[:, None], z, self.best)
        start = self.measuring.scales.start
        weights = traceable_weights(start, point, self.measuring.blocks)
        resting = without_scale(start, self.count)
        return Iterate(z, fz, self.running, self.look, weights, resting, self._tell)

    def reopen(self, rows: Bool[Tensor, " B"], factor: Float[Tensor, " B"]) -> None:
        """Let rows that have converged go on, each to `factor` times its present residual."""
        self.measuring.limit(rows, factor[:, None] * self.look.residuals)
        status = torch.where(rows, MAX_STEPS, self.verdicts.status)
        self.verdicts = self.verdicts._replace(status=status)

    def leaving(self) -> np.ndarray | None:
        """Return the rows to go on with if others may leave: after a look, and else None."""
        return None if self._seen is None else rows_to_keep(self._seen)

    def expects_last(self) -> bool:
        """Return whether the next iterate is likely to be the last."""
        return self.count + 1 >= min(self._lookout.due, self.rules.max_steps)

    def settle(self, last: Iterate, f: MatrixMap | None) -> None:
        """Make the verdicts true of the value, also where rows depend on each other.

        Args:
            last: The last iterate.
            f: The map, for one more evaluation where it is needed; None if the rows are known to be
                independent.
        """
        if self._seen is None:
            self._look()
        proven = f is not None and self._unproven
        if f is not None and proven:
            with torch.no_grad():
                value = self.best.detach()
                found = self.measuring.look(value, f(value).detach())
            self.verdicts = self.verdicts._replace(latest=(found.residual, found.tolerance))
        elif self._at_value:
            self.best = last.z  # the same numbers, and the very tensor that f was evaluated at
        flags = proven, self.count >= self.rules.max_steps
        self.verdicts = closed(
            self.verdicts, *(torch.full((), flag, device=last.z.device) for flag in flags)
        )

    def hold_finished(
        self, z: Float[Tensor, "B D"], z_next: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """Return `z_next` for the rows that still run, and `z` for the others."""
        return torch.where(self.running[:, None], z_next, z)

    def current(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return z for the rows that still run, and their best iterate for the others."""
        return torch.where(self.running[:, None], z, self.best)

    def filed(self, beside: dict[str, Array]) -> Filed:
        """Return what the solve returns of the rows in the loop, with what the method reports."""
        return Filed(self.best, of_each_row(self.verdicts) | beside)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        coupled = self.verdicts.coupled  # of the batch, and no row's
        kept = take_rows(self.verdicts._replace(coupled=None), rows)
        self.verdicts = kept._replace(coupled=coupled)
        self.measuring.keep(rows)
        self.best, self.look = take_rows((self.best, self.look), rows)
        self._measures = deque((take_rows(each, rows) for each in self._measures), maxlen=SPAN)

    def _tell(self, running: np.ndarray) -> None:
        """Learn from a method, which had to look, which rows run."""
        self._all_ended = not running.any()

    def _look(self, asked: Tensor | None = None) -> np.ndarray:
        """Wait for the device; return which rows run, and find out how long they will."""
        known = self.verdicts
        flags = torch.stack([is_unproven(known), known.behind.any()])
        parts = [self._ahead(), *(() if asked is None else (asked.double(),)), flags.double()]
        told = torch.cat(parts).cpu().numpy()
        steps, (self._unproven, behind) = told[: len(parts[0])], (bool(each) for each in told[-2:])
        self.told = None if asked is None else told[len(steps) : -2]
        self._seen, self._at_value = steps > 0, not behind
        self._lookout.plan(self.count, float(steps.max(initial=0.0)))
        return self._seen

    def _ahead(self) -> Float[Tensor, " B"]:
        """Return how many more steps each row takes at the rate it has; 0 once it has ended."""
        measure = self.look.measure
        rate = (measure / self._measures[0]) ** (1 / max(1, len(self._measures) - 1))
        steps = (still_allowed(self.look, self.measuring.bounds) / measure).log() / rate.log()
        steps = torch.where(steps >= 1, steps, 1.0)  # also for nan
        return torch.where(self.running, steps, 0.0)


def closed(known: Verdicts, proven: Bool[Tensor, ""], out_of_steps: Bool[Tensor, ""]) -> Verdicts:
    """Return the verdicts at the end, true of the value also where rows depend on each other.

    Args:
        known: The verdicts on the last iterate.
        proven: Whether that was the value as a whole.
        out_of_steps: Whether the steps ran out.
    """
    rows = torch.where(proven, known.residual.isfinite(), known.status == CONVERGED)
    return withdrawn(remeasured(known, *known.latest, rows), out_of_steps)
