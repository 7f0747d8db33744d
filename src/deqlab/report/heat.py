"""Draw a heat map: a band for each arm, in it a row for each seed and a cell for each x.

The stronger the colour of a cell, the larger its y; a cell without a value is left out. No mean
is taken: what is dense in one seed and sparse in the next shows as that.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from deqlab.report.charts import Axis, Chart, Panel, Point, Series
from deqlab.report.marks import Colours
from deqlab.report.svg import printable
from deqlab.report.ticks import place

GAP = 0.5  # between two bands, in rows
MAX_TICKS = 10
LABEL_WIDTH = 18  # characters of a line of an arm's name

Ends = tuple[float, float]


def ends(points: Sequence[Point], y: Axis) -> Ends:
    """The values of y that are blank and of full colour; blank is 0 where no value is below."""
    values = [v for p in points for v in (p.y.low, p.y.high) if y.shows(v)]
    low, high = min(values), max(values)
    return (low if y.log else min(low, 0.0)), high


def columns(points: Iterable[Point]) -> list[float]:
    """Return the distinct x, ascending: they share the width evenly."""
    return sorted({p.x.median for p in points})


def draw_heat(
    axes: Axes, chart: Chart, panel: Panel, at: Sequence[float], limits: Ends, colours: Colours
) -> None:
    """Draw the cells of `panel` and the names beside them.

    Args:
        axes: Where.
        chart: The chart of the panel.
        panel: What.
        at: The x of all columns, ascending.
        limits: The y that is blank, and the y of full colour.
        colours: By role.
    """
    top, centres = 0.0, []
    for series in panel.series:
        seeds = sorted({seed for column in series.by_seed.values() for seed in column})
        axes.add_collection(_band(series, seeds, top, at, limits, chart.y, colours))
        centres.append(top + len(seeds) / 2)
        top += len(seeds) + GAP
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlim(-0.5, len(at) - 0.5)
    axes.set_ylim(top - GAP, 0)  # the first arm is on top
    names = [textwrap.fill(printable(s.arm.label), LABEL_WIDTH) for s in panel.series]
    axes.set_yticks(centres, names)
    shown = range(0, len(at), math.ceil(len(at) / MAX_TICKS))
    axes.set_xticks(list(shown), [printable(chart.x.format(at[i])) for i in shown])
    axes.tick_params(left=False, bottom=False, labelcolor=colours["muted"], pad=5)


def shade(value: float, limits: Ends, *, log: bool) -> float:
    """Return how strong the colour of `value` is, from 0 to 1.

    Example:
        >>> shade(2.0, (0.0, 8.0), log=False), shade(2.0, (1.0, 4.0), log=True)
        (0.25, 0.5)
    """
    return min(1.0, max(0.0, place(value, limits, log=log)))


def _band(
    series: Series,
    seeds: Sequence[int],
    top: float,
    at: Sequence[float],
    limits: Ends,
    y: Axis,
    colours: Colours,
) -> PatchCollection:
    place = {x: column for column, x in enumerate(at)}
    cells, shades = [], []
    for x, values in series.by_seed.items():
        for row, seed in enumerate(seeds):
            value = values.get(seed, math.nan)
            if x in place and y.shows(value):
                cells.append(Rectangle((place[x] - 0.5, top + row), 1, 1))
                strength = shade(value, limits, log=y.log)
                shades.append(to_rgba(colours[series.arm.colour], strength))
    return PatchCollection(
        cells,
        facecolors=shades,
        edgecolors=colours["grid"],
        linewidths=0.5,
        gid=f"series-{series.arm.slot}",
    )
