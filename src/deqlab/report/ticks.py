"""Where an axis begins and ends, where its values and ticks lie, and how these are written.

Values may be as large as a float can be, and as small: no difference or power here overflows.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from deqlab.report.charts import Axis
from deqlab.report.formats import MINUS, TIMES, Format, bytes_, number, power_of_ten, si
from deqlab.report.statistics import Spread

PADDING = 0.04  # of the span, on each side
LARGEST, SMALLEST = sys.float_info.max, math.ulp(0.0)
LOG_SMALLEST, LOG_LARGEST = -323.3, 308.25  # powers of ten that are floats
MAX_TICKS = 6
MIN_TICKS = 3


def limits(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    """The ends of an axis that shows `values`, of which there is at least one.

    Example:
        >>> limits([2.0, 12.0], log=False)
        (0.0, 12.4)
    """
    low, high = min(values), max(values)
    if log:
        a, b = math.log10(low), math.log10(high)
        pad = PADDING * (b - a) or 0.3
        ends = 10.0 ** max(a - pad, LOG_SMALLEST), 10.0 ** min(b + pad, LOG_LARGEST)
        return min(low, ends[0]), max(high, ends[1])
    pad = 2 * PADDING * (high / 2 - low / 2) or 0.1 * abs(high) or 1.0
    # A distance from zero is read off the picture whether it is meant or not: start there
    # when that costs less than a third of the height.
    near_zero = 0 <= low < 0.35 * high
    return (0.0 if near_zero else max(low - pad, -LARGEST)), min(high + pad, LARGEST)


def place(value: float, ends: tuple[float, float], *, log: bool) -> float:
    """Return where `value` lies between the ends of an axis, from 0 to 1.

    Pictures are drawn in these numbers: matplotlib's own scales overflow far from 1.

    Example:
        >>> place(2.0, (0.0, 8.0), log=False), place(2.0, (1.0, 4.0), log=True)
        (0.25, 0.5)
    """
    low, high = ends
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    if math.isinf(high - low):
        value, low, high = value / 2, low / 2, high / 2
    return (value - low) / (high - low) if high > low else 1.0


@dataclass(frozen=True)
class Scale:
    """Where an axis, from end to end, has its values; see `place`."""

    axis: Axis
    limits: tuple[float, float]

    def place(self, value: float) -> float:
        """Return the place of `value`; nan where the axis has none."""
        if not self.axis.shows(value):
            return math.nan
        return place(value, self.limits, log=self.axis.log)

    def low(self, of: Spread) -> float:
        """Return the place of the minimum; on a logarithmic axis what has none lies at its end."""
        return self.place(of.low) if self.axis.shows(of.low) else 0.0


def positions(low: float, high: float, axis: Axis) -> list[float]:
    """Positions of ticks between `low` and `high`: about five round numbers.

    Amounts of memory are round in powers of two.
    """
    binary = axis.format is bytes_
    if axis.log:
        return _logarithmic(low, high, base=2 if binary else 10)
    unit = 1024.0 ** int(math.log(high, 1024)) if binary and high > 1 else 1.0
    return _round(low, high, unit)


def _round(low: float, high: float, unit: float = 1.0) -> list[float]:
    """Some round multiples of `unit` from `low` to `high`."""
    largest = max(abs(low), abs(high))
    if not 1e-290 < largest < 1e290:  # the locator subtracts, and squares
        unit = max(10.0 ** math.floor(math.log10(largest)), SMALLEST)
    locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    every = [unit * float(v) for v in locator.tick_values(low / unit, high / unit)]
    return [v for v in every if low <= v <= high]


def _logarithmic(low: float, high: float, *, base: int) -> list[float]:
    first, last = math.ceil(math.log(low, base)), math.floor(math.log(high, base))
    if last - first + 1 >= MIN_TICKS:
        stride = math.ceil((last - first + 1) / MAX_TICKS)
        return [float(base) ** k for k in range(first, last + 1, stride)]
    found = [v for v in _multiples(first, last, base, (1, 2, 5)) if low <= v <= high]
    if len(found) >= MAX_TICKS:  # their labels would touch on a phone
        found = [v for v in _multiples(first, last, base, (1, 3)) if low <= v <= high]
    if base == 10 and len(found) >= MIN_TICKS:
        return found
    return [v for v in _round(low, high) if v > 0]


def _multiples(first: int, last: int, base: int, factors: Sequence[int]) -> list[float]:
    return [m * float(base) ** k for k in range(first - 1, last + 1) for m in factors]


def writer(ticks: Sequence[float], form: Format) -> Callable[[float], str]:
    """How to write the ticks of one axis, all in the same way."""
    largest = max(map(abs, ticks), default=0.0)
    if form not in (number, si):
        return _trimmed(form)
    if largest >= 1e4:
        return _trimmed(si)
    # One tick in powers of ten makes all of them so, if they are powers of ten.
    if 0 < min(map(abs, ticks), default=0.0) < 1e-3 and largest <= 1:
        return lambda value: _scientific(value) if value != 1 else "1"
    return _tick


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.6g}".replace("-", MINUS) if abs(value) > 0.999e-3 else _scientific(value)


def _scientific(value: float) -> str:
    factor, exponent = f"{value:.2e}".split("e")
    factor = factor.rstrip("0").rstrip(".")
    power = power_of_ten(int(exponent))
    return power if factor == "1" else f"{factor}{TIMES}{power}".replace("-", MINUS)


def _trimmed(form: Format) -> Callable[[float], str]:
    """Write with `form`, without the zeros after the point that a tick does not need."""

    def write(value: float) -> str:
        text, space, unit = form(value).partition("\N{NO-BREAK SPACE}")
        if "." in text and TIMES not in text:
            text = text.rstrip("0").rstrip(".")
        return text + space + unit

    return write
