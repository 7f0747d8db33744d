"""The escalation of `auto`, where nobody looks at a number: for states on a device.

All rows take the steps of Picard iteration and of Anderson acceleration, and each keeps the one of
its level. The window of a row that is still with Picard iteration holds its last point and no more,
so that it escalates to what `auto` gives it. Which rows Anderson has stalled in is known when the
loop looks: until then they go on as they are, and so come to Newton-Krylov up to a stride later.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from deqlab.solvers.anderson import Anderson, Recent
from deqlab.solvers.auto_groups import ANDERSON, NEWTON, PICARD, Group, advance, regrouped, slow
from deqlab.solvers.loop.compaction import take_rows
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.newton_krylov import NewtonKrylov


@dataclass
class LevelsOnDevice:
    """What is known of each row, (B,), and the groups that have come to Newton-Krylov."""

    level: Int64[Tensor, " B"]
    last: Float64[Tensor, " B"]  # |g| one iteration ago
    best: Float64[Tensor, " B"]  # the least |g| since it was halved last; of rows with Anderson
    since: Int64[Tensor, " B"]  # iterations since then
    recent: Recent  # of Anderson acceleration
    count: int = 0
    groups: list[Group] = field(default_factory=list)

    @classmethod
    def of(cls, z: Float[Tensor, "B D"], recent: Recent) -> "LevelsOnDevice":
        """Return what is known before the first step."""
        zeros = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        inf = torch.full_like(zeros, torch.inf, dtype=torch.float64)
        return cls(zeros + PICARD, inf, inf, zeros, recent)

    def take_rows(self, rows: np.ndarray) -> "LevelsOnDevice":
        """Return the same for some of the rows, in their order."""
        known = (self.level, self.last, self.best, self.since, self.recent)
        level, last, best, since, recent = take_rows(known, rows)
        groups = regrouped(self.groups, rows, len(self.level))
        return LevelsOnDevice(level, last, best, since, recent, self.count, groups)

    def step(
        self,
        f: CountedMap,
        iterate: Iterate,
        method: Anderson,
        newton: NewtonKrylov,
        *,
        promise: int,
    ) -> Float[Tensor, "B D"]:
        """Return the next iterate of every row."""
        assert iterate.look is not None
        self.count += 1
        measure, running = iterate.look.measure, iterate.running
        picard = self.level == PICARD
        rows = picard & running & slow(iterate.look, self.last, self.count, promise)
        self.level = torch.where(rows, ANDERSON, self.level)
        picard = picard & ~rows
        halved = measure <= 0.5 * self.best
        self.best = torch.where(halved, measure, self.best)
        self.since = torch.where(halved | rows, 0, self.since + 1)
        self.last = measure
        z_next, self.recent = method.step(f, iterate, self.recent)
        self._keep_last_point(picard, measure)
        z_next = torch.where(picard[:, None], iterate.fz, z_next)
        if iterate.told is not None:
            self._escalate(iterate.told > 0, iterate, newton)
        for group in self.groups:
            z_next = advance(group, f, iterate, z_next)
        return z_next

    def stalled(self, stall: int) -> Bool[Tensor, " B"]:
        """Return the rows that have found nothing much better by Anderson for long."""
        return (self.level == ANDERSON) & (self.since >= stall)

    def _escalate(self, rows: np.ndarray, iterate: Iterate, newton: NewtonKrylov) -> None:
        """Start a group of these rows."""
        if rows.any():
            places = np.flatnonzero(rows)
            there = torch.from_numpy(rows).to(self.level.device)
            self.level = torch.where(there, NEWTON, self.level)
            start = newton.init(take_rows(iterate.z, places))
            self.groups.append(Group(places, newton, start))

    def _keep_last_point(self, rows: Bool[Tensor, " B"], measure: Float64[Tensor, " B"]) -> None:
        """Let the window of these rows hold the last point, and no difference."""
        window = self.recent.window
        assert window is not None
        closed = torch.arange(window.dg.shape[1], device=measure.device) != window.open
        forget = (rows[:, None] & closed)[:, :, None]
        window.dg = torch.where(forget, 0.0, window.dg)
        window.df = torch.where(forget, 0.0, window.df)
        window.gram = torch.where(rows[:, None, None], 0.0, window.gram)
        residual = torch.linalg.vector_norm(window.dg[:, window.open], dim=1)
        least: Any = self.recent.least
        self.recent.least = torch.where(rows, residual, least)
