"""Starts cheap, watches how fast each row gets better, and escalates.

    Picard              while the rate at which |g| falls promises the end within a few steps;
    Anderson            for rows where it does not;
    Newton-Krylov       for rows where Anderson finds nothing better any more.

Each row decides for itself, from its own residuals: its answer does not depend on its batch. Rows
that change their method at the same iteration go on as a group, apart from the others.

The scheme is this library's own; what it costs beside the best fixed choice is measured in
`benchmarks`.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.solvers.anderson import Anderson
from deqlab.solvers.auto_groups import ANDERSON, NEWTON, PICARD, Group, advance, regrouped, slow
from deqlab.solvers.auto_on_device import LevelsOnDevice
from deqlab.solvers.base import Solver
from deqlab.solvers.loop.compaction import take_rows
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.newton_krylov import NewtonKrylov


@dataclass
class Levels:
    """What is known of each row, (B,), and the groups that have left Picard iteration."""

    level: np.ndarray
    last: np.ndarray  # |g| one iteration ago
    best: np.ndarray  # the least |g| since it was halved last; of rows with Anderson
    since: np.ndarray  # iterations since then
    before: Tensor | None = None  # z one iteration ago, if a row is still with Picard iteration
    count: int = 0
    groups: list[Group] = field(default_factory=list)

    def take_rows(self, rows: np.ndarray) -> "Levels":
        """Return the same for some of the rows, in their order."""
        return Levels(
            self.level[rows],
            self.last[rows],
            self.best[rows],
            self.since[rows],
            take_rows(self.before, rows),
            self.count,
            regrouped(self.groups, rows, len(self.level)),
        )


@dataclass(frozen=True, kw_only=True)
class Auto(Solver[Levels | LevelsOnDevice]):
    """The default choice where nothing is known of f.

    Memory: 2 memory + 4 states once a row has left Picard iteration; more only for rows that come
    to Newton-Krylov.

    Attributes:
        memory: The memory of Anderson, at least 1.
        promise: Picard iteration goes on where its rate promises the end in so many steps, at
            least 1.
        stall: A row whose |g| Anderson does not halve in so many steps comes to Newton-Krylov, at
            least 1.
    """

    memory: int = 10
    promise: int = 8
    stall: int = 20

    unrollable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memory", "promise", "stall"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Levels | LevelsOnDevice:
        batch = len(z)
        if not z.is_cpu:
            return LevelsOnDevice.of(z, self._anderson.init(z))
        unknown = np.full(batch, np.inf)
        return Levels(np.full(batch, PICARD), unknown, unknown, np.zeros(batch, dtype=int))

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Levels | LevelsOnDevice
    ) -> tuple[Float[Tensor, "B D"], Levels | LevelsOnDevice]:
        if isinstance(memory, LevelsOnDevice):
            methods = self._anderson, self._newton
            return memory.step(f, iterate, *methods, promise=self.promise), memory
        look, running = iterate.look, iterate.running
        assert look is not None
        memory.count += 1
        with np.errstate(all="ignore"):
            rows = slow(look, memory.last, memory.count, self.promise)
        self._escalate((memory.level == PICARD) & rows & running, ANDERSON, f, iterate, memory)
        if memory.groups:
            stalled = self._stalled(look.measure, memory)
            self._escalate(stalled & running, NEWTON, f, iterate, memory)
        memory.last = look.measure
        memory.before = iterate.z if (memory.level == PICARD).any() else None
        z_next = iterate.fz
        for group in memory.groups:
            if running[group.rows].any():
                z_next = advance(group, f, iterate, z_next)
        return z_next, memory

    def _stalled(self, measure: np.ndarray, memory: Levels) -> np.ndarray:
        """Return which rows have found nothing much better by Anderson for long."""
        halved = measure <= 0.5 * memory.best
        memory.best = np.where(halved, measure, memory.best)
        memory.since = np.where(halved, 0, memory.since + 1)
        found: np.ndarray = (memory.level == ANDERSON) & (memory.since >= self.stall)
        return found

    def _escalate(
        self, rows: np.ndarray, level: int, f: CountedMap, iterate: Iterate, memory: Levels
    ) -> None:
        """Start a group of these rows, and take them out of theirs."""
        if not rows.any():
            return
        method: Solver[Any] = self._anderson if level == ANDERSON else self._newton
        for group in memory.groups:
            stay = np.flatnonzero(~rows[group.rows])
            if len(stay) < len(group.rows):
                group.memory = take_rows(group.memory, stay)
                group.rows = group.rows[stay]
        memory.groups = [group for group in memory.groups if len(group.rows)]
        memory.level = np.where(rows, level, memory.level)
        memory.since = np.where(rows, 0, memory.since)
        places = np.flatnonzero(rows)
        some = iterate.take_rows(places)
        own = method.init(some.z)
        if level == ANDERSON and memory.before is not None:
            # z = f(before): Anderson begins with the difference of two points.
            before = some._replace(z=take_rows(memory.before, places), fz=some.z)
            _, own = method.step(f.part(places, iterate.z), before, own)
        memory.groups.append(Group(places, method, own))

    @override
    def asks(self, memory: Levels | LevelsOnDevice) -> Tensor | None:
        if isinstance(memory, LevelsOnDevice):
            return memory.stalled(self.stall)
        return None

    @property
    def _anderson(self) -> Anderson:
        return Anderson(memory=self.memory)

    @property
    def _newton(self) -> NewtonKrylov:
        return NewtonKrylov(rtol=self.rtol, atol=self.atol)
