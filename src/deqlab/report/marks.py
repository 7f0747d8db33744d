"""The marks of an arm in a chart: a line with its band, or points with their bars."""

import math
from collections.abc import Mapping
from typing import TypeAlias

from matplotlib.axes import Axes

from deqlab.report.charts import Series
from deqlab.report.ticks import Scale

MAX_MARKERS = 9  # of one line: more of them hide it

Colours: TypeAlias = Mapping[str, str]
"""Colours by role: ink, muted, grid, surface, and c0, c1, ... of the arms."""


def draw_line(
    axes: Axes, series: Series, x_scale: Scale, y_scale: Scale, colours: Colours, *, cut: bool
) -> None:
    """Draw the line of an arm, with its range over seeds.

    Args:
        axes: Where.
        series: The points.
        x_scale: The horizontal axis.
        y_scale: The vertical axis.
        colours: By role.
        cut: Whether something lies above the vertical axis.
    """
    arm, colour = series.arm, colours[series.arm.colour]
    points = [p for p in series.points if x_scale.axis.shows(p.x.median)]
    x = [x_scale.place(p.x.median) for p in points]
    # A value that cannot be drawn must leave a gap: a line across it would invent data.
    y = [y_scale.place(p.y.median) for p in points]
    gaps = any(value != value for value in y)
    if any(p.y.varies for p in points):
        axes.fill_between(
            x,
            [
                math.nan if math.isnan(at) else y_scale.low(p.y)
                for at, p in zip(y, points, strict=True)
            ],
            [y_scale.place(p.y.high) for p in points],
            color=colour,
            alpha=0.16,
            linewidth=0,
            gid=f"series-{arm.slot}",
        )
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=arm.width,
        dashes=tuple(length / arm.width for length in arm.dash) or (None, None),
        dash_capstyle="butt",
        marker=arm.marker.code,
        # A point between two gaps has no line: then every point needs its marker.
        markevery=1 if gaps else _every(len(x), arm.slot),
        markersize=arm.marker.scale * (8.5 if arm.reference else 7.5),
        markeredgecolor=colours["surface"],
        markeredgewidth=1.2,
        zorder=3 if arm.reference else 2.5,
        clip_on=cut,  # else a point on the edge is cut in half
        gid=f"series-{arm.slot}",
    )


def _every(count: int, slot: int) -> int | tuple[int, int]:
    """Which points get a marker: all, or a few that are not those of the next arm."""
    if count <= MAX_MARKERS + 3:
        return 1
    stride = -(-count // MAX_MARKERS)
    return (slot * max(1, stride // 3)) % stride, stride


def draw_dots(axes: Axes, series: Series, x_scale: Scale, y_scale: Scale, colours: Colours) -> None:
    """Draw the points of an arm, with their ranges over seeds."""
    arm, colour = series.arm, colours[series.arm.colour]
    gid = f"series-{arm.slot}"
    for p in series.points:
        at = x_scale.place(p.x.median), y_scale.place(p.y.median)
        if any(map(math.isnan, at)):
            continue
        bars = (
            ([x_scale.low(p.x), x_scale.place(p.x.high)], [at[1]] * 2, p.x.varies),
            ([at[0]] * 2, [y_scale.low(p.y), y_scale.place(p.y.high)], p.y.varies),
        )
        for x, y, varies in bars:
            if varies:
                axes.plot(x, y, color=colour, linewidth=2, alpha=0.7, gid=gid)
        axes.plot(
            *at,
            color=colour,
            marker=arm.marker.code,
            markersize=arm.marker.scale * (17 if arm.reference else 11),
            clip_on=False,
            markeredgecolor=colours["surface"],
            markeredgewidth=1.2,
            zorder=3 if arm.reference else 4,  # the larger mark, below smaller ones
            gid=gid,
        )
