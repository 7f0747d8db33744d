"""The forest plot of a verdict: one bar for each rival, in one unit, as places from 0 to 1."""

import math
from dataclasses import dataclass
from itertools import groupby

from deqlab.report.charts import Axis
from deqlab.report.formats import MINUS, number
from deqlab.runs.records import Contest, Result, Rival

# Sign and words of each result. Signs and places tell them apart; colours only repeat it.
RESULTS: dict[Result, tuple[str, str]] = {
    "win": ("✓", "DEQ better"),
    "tie": ("=", "not told apart"),
    "loss": ("✕", "DEQ worse"),
    "neither": ("–", "neither learns"),  # noqa: RUF001, a dash is the sign
}

ALONE = "a cost of its own"
"""Where a rival is that matches the DEQ in nothing, as a network of the user's."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A rival as a bar; places are from 0 to 1, left to right."""

    rival: Rival
    at: float
    low: float
    high: float
    told: str


@dataclass(frozen=True, kw_only=True)
class Forest:
    """All bars by group, on one axis.

    Attributes:
        contest: What is shown.
        groups: The heading of each group and its bars; none where nobody is in a group.
        neutral: The place of a tie.
        ticks: Places of the axis, and what stands there.
        confidence: Of the intervals, in words; empty where there is none.
    """

    contest: Contest
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]
    neutral: float
    ticks: tuple[tuple[float, str], ...]
    confidence: str


def forest(contest: Contest) -> Forest:
    """Return the forest plot of a contest."""
    from deqlab.report import ticks  # matplotlib takes a second to import

    log = contest.neutral > 0
    axis = Axis(field="", label=contest.unit, scale="log" if log else "linear", format=number)
    ends = [end for one in contest.rivals for end in (one.estimate, one.low, one.high)]
    shown = [end for end in (*ends, contest.neutral) if axis.shows(end)]
    limits = ticks.limits(shown, log=log)
    scale = ticks.Scale(axis, limits)

    def place(value: float) -> float:
        at = scale.place(min(max(value, limits[0]), limits[1]))
        return round(min(1.0, max(0.0, at)), 4)

    def bar(rival: Rival) -> Bar:
        # An estimate that is nan lies in the middle of its interval.
        low, high = place(rival.low), place(rival.high)
        at = (low + high) / 2 if math.isnan(rival.estimate) else place(rival.estimate)
        return Bar(rival=rival, at=at, low=low, high=high, told=_told(rival, log=log))

    grouped = any(rival.group for rival in contest.rivals)
    at = ticks.positions(*limits, axis)
    write = ticks.writer(at, number)
    return Forest(
        contest=contest,
        groups=tuple(
            (f"At {group or ALONE}" if grouped else "", tuple(map(bar, of)))
            for group, of in groupby(contest.rivals, key=lambda rival: rival.group)
        ),
        neutral=place(contest.neutral),
        ticks=tuple((place(value), write(value)) for value in at),
        confidence=_confidence(contest),
    )


def _told(rival: Rival, *, log: bool) -> str:
    if math.isnan(rival.estimate):
        return "not finite"

    def show(value: float) -> str:
        if math.isinf(value):
            return "∞" if value > 0 else f"{MINUS}∞"
        return ("+" if value > 0 and not log else "") + number(value)

    told = show(rival.estimate)
    return f"{told} ({show(rival.low)} to {show(rival.high)})" if rival.confidence else told


def _confidence(contest: Contest) -> str:
    found = sorted({round(100 * rival.confidence) for rival in contest.rivals})
    if not found or found[-1] == 0:
        return ""
    told = " to ".join(f"{each}" for each in dict.fromkeys((found[0], found[-1])))
    return f"Bars: {told} % intervals over seeds, each by itself."
