"""The whole batch of a solve, while the loop works on the rows of it that still run."""

import dataclasses
from typing import TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.solution import Solution
from deqlab.solvers.loop.convergence import Monitor
from deqlab.solvers.loop.evaluation import Map

Memory = TypeVar("Memory")

SPARSE = 0.75
"""Finished rows leave the batch, where they may, once this share of it or less still runs."""

FIELDS = ("residual", "tolerance", "status", "steps")


class Ledger:
    """Files the verdicts of rows that leave the loop, and the trace of all."""

    def __init__(self, record: tuple[int, ...]) -> None:
        self.record = record
        self.rows: np.ndarray | None = None  # the rows in the loop; None for all
        self.trace: list[tuple[np.ndarray | None, np.ndarray]] = []
        self.measures: list[np.ndarray] = []  # of the same rows, in units of each block's scale
        self.states: dict[int, Tensor] = {}
        self.value: Tensor | None = None
        self.verdicts: dict[str, np.ndarray] = {}

    def note(self, monitor: Monitor, z: Float[Tensor, "B D"]) -> None:
        """Enter the residuals of the last iterate, and the iterate itself if it is asked for."""
        self.trace.append((self.rows, monitor.latest))
        self.measures.append(monitor.look.measure)
        if monitor.count in self.record:
            # A copy, that nothing else writes to.
            self.states[monitor.count] = self._spread(monitor.iterate(z)).clone()

    def recent_measures(self, count: int) -> list[np.ndarray]:
        """Return the measures of the last iterates, at most so many, of the rows in the loop."""
        entries = zip(self.trace[-count:], self.measures[-count:], strict=True)
        return [self._of_rows_in_play(rows, measure) for (rows, _), measure in entries]

    def _of_rows_in_play(self, rows: np.ndarray | None, measure: np.ndarray) -> np.ndarray:
        if self.rows is None or rows is self.rows:
            return measure
        return measure[self.rows if rows is None else np.searchsorted(rows, self.rows)]

    def leavers(self, monitor: Monitor) -> np.ndarray | None:
        """File the finished rows if they are many; return the rows that go on, or None for all.

        The monitor forgets the others.
        """
        if monitor.all_active or monitor.active.mean() > SPARSE:
            return None
        self._file(monitor)
        stay = np.flatnonzero(monitor.active)
        self.rows = stay if self.rows is None else self.rows[stay]
        monitor.keep_only(stay)
        return stay

    def index(self, z: Tensor) -> Tensor:
        """Return which rows of the whole batch are in the loop, on the device of z."""
        rows = np.arange(len(z)) if self.rows is None else self.rows
        return torch.from_numpy(rows).to(z.device)

    def solution(self, monitor: Monitor, f: Map) -> Solution:
        """Return the verdicts, and for each row the iterate they speak of."""
        self._file(monitor)
        value = self.value
        assert value is not None

        def verdict(name: str) -> Tensor:
            return torch.from_numpy(self.verdicts[name]).to(value.device)

        # Each in its own memory: a step may be asked for twice, or never have been taken.
        states = (
            self.states[step]
            if step in self.states and step not in self.record[:i]
            else self.states.get(step, value).clone()
            for i, step in enumerate(self.record)
        )
        return Solution(
            value=value,
            residual=verdict("residual"),
            tolerance=verdict("tolerance"),
            status=verdict("status"),
            steps=verdict("steps"),
            evaluations=f.evaluations,
            products=f.products,
            trace=torch.from_numpy(self._whole_trace(value.dtype)).to(value.device),
            states=tuple(states),
        )

    def _file(self, monitor: Monitor) -> None:
        """Enter the verdicts on the rows in the loop."""
        self.value = self._spread(monitor.best)
        for name in FIELDS:
            latest = getattr(monitor, name)
            if self.rows is None:
                self.verdicts[name] = latest
            else:
                self.verdicts[name] = self.verdicts[name].copy()
                self.verdicts[name][self.rows] = latest

    def _spread(self, part: Float[Tensor, "b D"]) -> Float[Tensor, "B D"]:
        """Return the whole batch: these rows where they belong, and what is filed of the others."""
        if self.rows is None:
            return part
        assert self.value is not None
        return self.value.index_copy(0, torch.from_numpy(self.rows).to(part.device), part)

    def _whole_trace(self, dtype: torch.dtype) -> np.ndarray:
        # In the precision of the state, but not below float32.
        exact = np.float64 if dtype == torch.float64 else np.float32
        whole = np.empty((len(self.trace), len(self.trace[0][1])), dtype=exact)
        for step, (rows, residual) in enumerate(self.trace):
            if rows is None:
                whole[step] = residual
            else:  # a row that left stands still
                whole[step] = whole[step - 1]
                whole[step, rows] = residual
        return whole


def take_rows(memory: Memory, rows: np.ndarray) -> Memory:
    """Return what a method remembers of these rows: every tensor and array has them first.

    A memory that is arranged in another way has a method `take_rows`.
    """
    if hasattr(memory, "take_rows"):
        return cast(Memory, memory.take_rows(rows))
    if isinstance(memory, Tensor):
        return cast(Memory, memory[torch.from_numpy(rows).to(memory.device)])
    if isinstance(memory, np.ndarray):
        return cast(Memory, memory[rows])
    if dataclasses.is_dataclass(memory) and not isinstance(memory, type):
        fields = {f.name: getattr(memory, f.name) for f in dataclasses.fields(memory)}
        parts = {name: take_rows(part, rows) for name, part in fields.items()}
        return cast(Memory, dataclasses.replace(memory, **parts))
    if isinstance(memory, tuple):
        return cast(Memory, tuple(take_rows(part, rows) for part in memory))
    return memory
