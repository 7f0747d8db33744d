"""What a chart needs beside its data: a tolerance across it, and an end before an early spike.

A learning curve may jump up in its first steps, by orders of magnitude. An axis that shows all of
that shows nothing of the rest: where the first quarter of the points goes ten times as high as the
others and takes more than two thirds of the height, the axis ends a little above the others, and
the chart says how far up it went.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes

from deqlab.report.charts import Axis, Point
from deqlab.report.formats import number
from deqlab.report.marks import Colours
from deqlab.report.ticks import Scale, place, writer

EARLY = 4
"""One point in so many, by x, is early."""

SHARE = 1 / 3
"""Of the height, which later points must take."""

TIMES = 10
"""How many times higher than later points a spike is, at least."""

ROOM = 0.25
"""Above later points, in units of the height that they take."""


def ceiling(points: Sequence[Point], axis: Axis) -> float | None:
    """Return where a vertical axis ends below an early spike; None if there is none.

    Args:
        points: Those of all lines, with medians that the axis shows.
        axis: The vertical axis.
    """
    at = sorted({point.x.median for point in points})
    first = at[len(at) // EARLY]
    later = _ends(axis, [point for point in points if point.x.median >= first])
    every = _ends(axis, points)
    if len(at) < EARLY or later[0] == later[1] or every[1] < TIMES * abs(later[1]):
        return None
    # Places in units of what later points take.
    low, high = (place(end, later, log=axis.log) for end in every)
    if (1 - min(low, 0.0)) / (high - low) >= SHARE:
        return None
    if axis.log:
        return float(later[1] * (later[1] / later[0]) ** ROOM)
    return later[1] + ROOM * (later[1] - later[0])


def _ends(axis: Axis, points: Sequence[Point]) -> tuple[float, float]:
    values = [v for p in points for v in (p.y.low, p.y.median, p.y.high) if axis.shows(v)]
    return min(values), max(values)


def draw_cut(axes: Axes, points: Sequence[Point], axis: Axis, colours: Colours) -> None:
    """Write how far up it goes where the axis ends below."""
    _, high = _ends(axis, points)
    text = f"↑ early values up to {number(high)} are cut off"
    axes.text(0.99, 0.98, text, color=colours["ink"], ha="right", va="top")


def draw_level(axes: Axes, level: float, scale: Scale, colours: Colours) -> None:
    """Draw a tolerance across the chart."""
    at = scale.place(level)
    axes.axhline(at, color=colours["ink"], linewidth=1.2, dashes=(5, 3), zorder=2.2)
    text = f"tolerance {writer([level], scale.axis.format)(level)}"
    axes.text(0.99, at + 0.015, text, color=colours["ink"], ha="right", va="bottom")
