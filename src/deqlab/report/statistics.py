"""Median and range over seeds.

The median over the finite values, and the smallest and largest of them. Values that are
not finite are counted, never dropped silently.
"""

import math
import statistics
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from deqlab.report.rows import ReportError

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, minimum and maximum of `count` finite values; nan where there is none."""

    median: float
    low: float
    high: float
    count: int
    nonfinite: int

    @property
    def varies(self) -> bool:
        """Whether there is a range to show."""
        return self.count > 1 and self.low < self.high


def spread(values: Iterable[float]) -> Spread:
    """Summarize `values`, of which some may not be finite.

    Example:
        >>> spread([3.0, 1.0, float("nan"), 2.0])
        Spread(median=2.0, low=1.0, high=3.0, count=3, nonfinite=1)
    """
    every = list(values)
    finite = [value for value in every if math.isfinite(value)]
    nonfinite = len(every) - len(finite)
    if not finite:
        return Spread(median=math.nan, low=math.nan, high=math.nan, count=0, nonfinite=nonfinite)
    return Spread(
        median=_median(finite),
        low=min(finite),
        high=max(finite),
        count=len(finite),
        nonfinite=nonfinite,
    )


def _median(values: list[float]) -> float:
    median = statistics.median(values)
    if math.isfinite(median):
        return median
    # The sum of the two in the middle overflows; their mean does not.
    return statistics.median_low(values) / 2 + statistics.median_high(values) / 2


def number(value: object, *, field: str, where: str) -> float:
    """Read a value of a row as a float; null, and whatever is not finite, becomes nan.

    Raises:
        ReportError: The value is no number.
    """
    if value is None:
        return math.nan
    if not isinstance(value, bool | int | float):
        raise ReportError(
            f"{where} needs numbers, but the field {field!r} of rows.jsonl holds {value!r}; "
            "name another field in config.json, or give the column the format 'text'"
        )
    try:
        result = float(value)
    except OverflowError:  # an integer beyond the range of float64
        return math.nan
    return result if math.isfinite(result) else math.nan


class BySeed(dict[Key, dict[int, float]]):
    """Values by key and seed. A job that was repeated overwrites what it wrote before."""

    def put(self, key: Key, seed: int, value: float) -> None:
        """Keep `value`, in place of an earlier one of the same key and seed."""
        self.setdefault(key, {})[seed] = value

    def spreads(self) -> dict[Key, Spread]:
        """The spread over seeds, by key."""
        return {key: spread(values.values()) for key, values in self.items()}
