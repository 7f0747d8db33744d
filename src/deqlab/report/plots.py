"""Draw a chart: one inline SVG for each panel.

Each panel is its own small picture, so that a page can place two of them side by side or
one below the other and the text keeps its size. All panels of a chart share their axes.
Legends are HTML, not part of the picture: they wrap, and a screen reader reads them.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from deqlab.report import ticks
from deqlab.report.charts import Axis, Chart, Panel, Point, Series
from deqlab.report.formats import interval, median
from deqlab.report.heat import columns, draw_heat, ends
from deqlab.report.statistics import Spread
from deqlab.report.svg import SENTINELS, inline, printable
from deqlab.report.ticks import Scale

WIDTH, HEIGHT = 440, 300  # natural size in CSS pixels; shown at 0.8 times that on a phone
FONT_SIZE = 12.5  # style.css sets the same, and more on a phone
MAX_MARKERS = 9  # of one line: more of them hide it
LABEL_WIDTH = 52  # characters of a line of an axis label that fit into WIDTH

# 72 units to the inch make one point of matplotlib one pixel of the page.
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a label is a dollar
    "text.usetex": False,
    "font.family": "DejaVu Sans",  # to measure text with: it ships with matplotlib, and is wide
    "font.size": FONT_SIZE,
    "axes.axisbelow": True,
    "path.simplify": False,
}

Limits = tuple[float, float]

Painter = Callable[[Axes, Panel], None]
"""Draws a panel."""


def draw(chart: Chart, *, prefix: str) -> list[str]:
    """Draw the panels of `chart`; a panel without anything to draw gives an empty text.

    Args:
        chart: The chart.
        prefix: Start of all ids, unique in the page.
    """
    points = [p for panel in chart.panels for one in panel.series for p in one.points]
    visible = [p for p in points if chart.x.shows(p.x.median) and chart.y.shows(p.y.median)]
    if not visible:
        return ["" for _ in chart.panels]
    paint = _painter(chart, visible)
    with style.context(_SETTINGS, after_reset=True), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        return [
            _draw(chart, panel, paint, prefix=f"{prefix}-p{number}")
            for number, panel in enumerate(chart.panels, start=1)
        ]


def _draw(chart: Chart, panel: Panel, paint: Painter, *, prefix: str) -> str:
    if not panel.drawable:
        return ""
    layout = ConstrainedLayoutEngine(w_pad=4 / 72, h_pad=4 / 72)
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout=layout, facecolor="none")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(facecolor="none")
    paint(axes, panel)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True)
    return inline(
        out.getvalue(),
        prefix=prefix,
        title=f"{chart.title}: {panel.title}" if panel.title else chart.title,
        description=_description(chart, panel),
        tooltips={f"series-{s.arm.slot}": _tooltip(chart, s) for s in panel.series},
    )


def _painter(chart: Chart, visible: Sequence[Point]) -> Painter:
    """Return what draws a panel, on axes that all panels share."""
    if chart.kind == "heatmap":
        at, limits = columns(visible), ends(visible, chart.y)

        def heat(axes: Axes, panel: Panel) -> None:
            low, high = (chart.y.format(value) for value in limits)
            _name(axes, chart, f"{_label(chart.y)}, from {low} (blank) to {high}")
            draw_heat(axes, chart, panel, at, limits)

        return heat
    x_limits = _limits(chart.x, [p.x for p in visible])
    y_limits = _limits(chart.y, [p.y for p in visible])

    def graph(axes: Axes, panel: Panel) -> None:
        _name(axes, chart, _label(chart.y))
        _frame(axes, chart, x_limits, y_limits)
        for series in reversed(panel.series):  # the reference comes first, and lies on top
            draw_series = _line if chart.kind == "line" else _dot
            draw_series(axes, series, Scale(chart.x, x_limits), Scale(chart.y, y_limits))

    return graph


def _limits(axis: Axis, spreads: Sequence[Spread]) -> Limits:
    values = [v for s in spreads for v in (s.low, s.median, s.high) if axis.shows(v)]
    return ticks.limits(values, log=axis.log)


def _name(axes: Axes, chart: Chart, y_title: str) -> None:
    """Write what the axes show."""
    axes.set_xlabel(_label(chart.x), color=SENTINELS["ink"], labelpad=5)
    # Above the axis rather than turned along it: easier to read, and the plot gets the width.
    # A given y spares matplotlib a search for free space, a quarter of the time of a picture.
    axes.set_title(
        y_title, loc="left", x=0, y=1, pad=10, color=SENTINELS["ink"], fontsize=FONT_SIZE
    )


def _frame(axes: Axes, chart: Chart, x_limits: Limits, y_limits: Limits) -> None:
    """Axes and grid, quiet enough to stay behind the data."""
    for spine in ("top", "right", "left"):
        axes.spines[spine].set_visible(False)
    axes.spines["bottom"].set_color(SENTINELS["muted"])
    for which, axis, limits in ((axes.xaxis, chart.x, x_limits), (axes.yaxis, chart.y, y_limits)):
        at = ticks.positions(*limits, axis)
        write, scale = ticks.writer(at, axis.format), Scale(axis, limits)
        which.set_ticks([scale.place(value) for value in at], [write(value) for value in at])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(color=SENTINELS["grid"], linewidth=1)
    axes.tick_params(left=False, bottom=False, labelcolor=SENTINELS["muted"], pad=5)


def _label(axis: Axis) -> str:
    text = printable(f"{axis.label} (log scale)" if axis.log else axis.label)
    return textwrap.fill(text, LABEL_WIDTH)


def _line(axes: Axes, series: Series, x_scale: Scale, y_scale: Scale) -> None:
    arm, colour = series.arm, SENTINELS[series.arm.colour]
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
        markeredgecolor=SENTINELS["surface"],
        markeredgewidth=1.2,
        zorder=3 if arm.reference else 2.5,
        clip_on=False,  # else a point on the edge is cut in half
        gid=f"series-{arm.slot}",
    )


def _every(count: int, slot: int) -> int | tuple[int, int]:
    """Which points get a marker: all, or a few that are not those of the next arm."""
    if count <= MAX_MARKERS + 3:
        return 1
    stride = -(-count // MAX_MARKERS)
    return (slot * max(1, stride // 3)) % stride, stride


def _dot(axes: Axes, series: Series, x_scale: Scale, y_scale: Scale) -> None:
    arm, colour = series.arm, SENTINELS[series.arm.colour]
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
            markeredgecolor=SENTINELS["surface"],
            markeredgewidth=1.2,
            zorder=3 if arm.reference else 4,  # the larger mark, below smaller ones
            gid=gid,
        )


def _tooltip(chart: Chart, series: Series) -> str:
    return _sentence(chart, series) if chart.kind == "scatter" else series.arm.label


def _description(chart: Chart, panel: Panel) -> str:
    """The picture in words: where each line ends, or where each point lies."""
    what = {"line": "Lines", "scatter": "Points", "heatmap": "A heat map"}[chart.kind]
    told = "; ".join(_sentence(chart, series) for series in panel.series)
    return f"{what} of {chart.y.label} against {chart.x.label}. {told}."


def _sentence(chart: Chart, series: Series) -> str:
    last = _last(chart, series.points)
    if last is None:
        return f"{series.arm.label}: nothing to draw"
    told = f"{chart.y.label} {median(last.y, chart.y.format)}"
    extent = interval(last.y, chart.y.format)
    told += f" ({extent})" if extent else ""
    return f"{series.arm.label}: {told} at {chart.x.label} {median(last.x, chart.x.format)}"


def _last(chart: Chart, points: Sequence[Point]) -> Point | None:
    shown = [p for p in points if chart.x.shows(p.x.median) and chart.y.shows(p.y.median)]
    return shown[-1] if shown else None
