"""The whole batch of a solve, while the loop works on the rows of it that still run.

Where f is known to treat each row by itself, finished rows leave the batch: their values and
verdicts are filed here, and everything else is cut to the rows that go on (`take_rows`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from deqlab.linalg.arrays import Array, choose, same_kind, written

Memory = TypeVar("Memory")

SPARSE = 0.75
"""Finished rows leave the batch, where they may, once this share of it or less still runs."""


class Filed(NamedTuple):
    """What a solve returns of each row."""

    value: Tensor  # (B, D)
    fields: Mapping[str, Array]  # (B,), the others of a `Solution` that have a number for each row


class Batch:
    """Which rows of the whole batch are in the loop, and what is filed of the others.

    Attributes:
        size: The number of rows of the whole batch.
        rows: The places of those in the loop; None for all of them.
        filed: What was filed when rows left, of the whole batch; None before.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: Int[np.ndarray, " b"] | None = None
        self.filed: Filed | None = None

    def whole_value(self, part: Tensor) -> Tensor:
        """Return a value of the whole batch: these rows, and what is filed of the others."""
        return part if self.filed is None else self._whole(part, self.filed.value)

    def file(self, latest: Filed) -> Filed:
        """File what is known of the rows in the loop; return what is known of the whole batch."""
        if self.filed is not None:
            filed, fields = self.filed, latest.fields.items()
            latest = Filed(
                value=self._whole(latest.value, filed.value),
                fields={name: self._whole(part, filed.fields[name]) for name, part in fields},
            )
        self.filed = latest
        return latest

    def put(self, whole: Array, rows: Array, part: Array) -> Array:
        """Return numbers of the whole batch, with others for some of the rows in the loop.

        Args:
            whole: The numbers, (B,) or (B, D).
            rows: The rows in the loop, (b,) bool.
            part: What the rows in the loop would get, (b,) or (b, D).
        """
        if self.rows is None:
            return choose(rows, part, whole)
        index = same_kind(self.rows, whole)
        return written(whole, index, choose(rows, part, whole[index]))

    def index(self, device: torch.device) -> Int[Tensor, " b"]:
        """Return the places of the rows in the loop, on a device."""
        rows = np.arange(self.size) if self.rows is None else self.rows
        return torch.from_numpy(rows).to(device)

    def keep(self, stay: Int[np.ndarray, " n"]) -> None:
        """Let all rows but these, of those in the loop, leave it; they must have been filed."""
        self.rows = stay if self.rows is None else self.rows[stay]

    def _whole(self, part: Array, others: Array) -> Array:
        """Return `others` with the rows in the loop replaced."""
        assert self.rows is not None
        if isinstance(part, Tensor):
            return others.index_copy(0, torch.from_numpy(self.rows).to(part.device), part)
        whole = others.copy()
        whole[self.rows] = part
        return whole


def rows_to_keep(running: Bool[np.ndarray, " b"]) -> Int[np.ndarray, " n"] | None:
    """Return the rows that still run; None while so many do that the others may as well stay."""
    if running.mean() > SPARSE:
        return None
    return np.flatnonzero(running)


def take_rows(memory: Memory, rows: Int[np.ndarray, " n"]) -> Memory:
    """Return the same of these rows alone: every tensor and array has the rows first.

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
        cut: Any = [take_rows(part, rows) for part in memory]
        named = hasattr(memory, "_fields")
        return cast(Memory, type(memory)(*cut) if named else tuple(cut))
    return memory
