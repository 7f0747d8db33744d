"""Draw a chart: one inline SVG for each panel.

Each panel is its own small picture, so that a page can place two of them side by side or
one below the other and the text keeps its size. All panels of a chart share their axes.
Legends are HTML, not part of the picture: they wrap, and a screen reader reads them.
"""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from deqlab.report import ticks
from deqlab.report.charts import Axis, Chart, Panel, Point, Series
from deqlab.report.formats import interval, median
from deqlab.report.guides import ceiling, draw_cut, draw_level
from deqlab.report.heat import columns, draw_heat, ends
from deqlab.report.marks import Colours, draw_dots, draw_line
from deqlab.report.statistics import Spread
from deqlab.report.svg import SENTINELS, inline, printable
from deqlab.report.ticks import Scale

WIDTH, HEIGHT = 440, 300  # natural size in CSS pixels; shown at 0.8 times that on a phone
FONT_SIZE = 12.5  # style.css sets the same, and more on a phone
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

Painter = Callable[[Axes, Panel], None]
"""Draws a panel."""


def draw(chart: Chart, *, prefix: str) -> list[str]:
    """Draw the panels of `chart`; a panel without anything to draw gives an empty text.

    Args:
        chart: The chart.
        prefix: Start of all ids, unique in the page.
    """
    paint = painter(chart, SENTINELS)
    if paint is None:
        return ["" for _ in chart.panels]
    with settings():
        return [
            _draw(chart, panel, paint, prefix=f"{prefix}-p{number}")
            for number, panel in enumerate(chart.panels, start=1)
        ]


@contextmanager
def settings(**more: Any) -> Iterator[None]:  # noqa: ANN401, as matplotlib takes them
    """Draw with the settings of all pictures and `more`, whatever those of the user are."""
    with style.context({**_SETTINGS, **more}, after_reset=True), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


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


def painter(chart: Chart, colours: Colours) -> Painter | None:
    """Return what draws a panel, on axes that all panels share; None if there is nothing to draw.

    Args:
        chart: The chart.
        colours: By role.
    """
    points = [p for panel in chart.panels for one in panel.series for p in one.points]
    visible = [p for p in points if chart.x.shows(p.x.median) and chart.y.shows(p.y.median)]
    if not visible:
        return None
    if chart.kind == "heatmap":
        at, limits = columns(visible), ends(visible, chart.y)

        def heat(axes: Axes, panel: Panel) -> None:
            low, high = (chart.y.format(value) for value in limits)
            _name(axes, chart, f"{_label(chart.y)}, from {low} (blank) to {high}", colours)
            draw_heat(axes, chart, panel, at, limits, colours)

        return heat
    x_scale = _scale(chart.x, [p.x for p in visible])
    top = ceiling(visible, chart.y) if chart.kind == "line" else None
    y_scale = _scale(chart.y, [p.y for p in visible], level=chart.level, top=top)

    def graph(axes: Axes, panel: Panel) -> None:
        _name(axes, chart, _label(chart.y), colours)
        _frame(axes, x_scale, y_scale, colours)
        for series in reversed(panel.series):  # the reference comes first, and lies on top
            if chart.kind == "line":
                draw_line(axes, series, x_scale, y_scale, colours, cut=top is not None)
            else:
                draw_dots(axes, series, x_scale, y_scale, colours)
        if chart.level is not None:
            draw_level(axes, chart.level, y_scale, colours)
        if top is not None:
            draw_cut(axes, visible, chart.y, colours)

    return graph


def _scale(
    axis: Axis, spreads: Sequence[Spread], level: float | None = None, top: float | None = None
) -> Scale:
    values = [v for s in spreads for v in (s.low, s.median, s.high) if axis.shows(v)]
    values += [] if level is None else [level]
    if top is not None:
        values = [min(value, top) for value in values]
    return Scale(axis, ticks.limits(values, log=axis.log))


def _name(axes: Axes, chart: Chart, y_title: str, colours: Colours) -> None:
    """Write what the axes show."""
    axes.set_xlabel(_label(chart.x), color=colours["ink"], labelpad=5)
    # Above the axis rather than turned along it: easier to read, and the plot gets the width.
    # A given y spares matplotlib a search for free space, a quarter of the time of a picture.
    axes.set_title(y_title, loc="left", x=0, y=1, pad=10, color=colours["ink"], fontsize=FONT_SIZE)


def _frame(axes: Axes, x_scale: Scale, y_scale: Scale, colours: Colours) -> None:
    """Axes and grid, quiet enough to stay behind the data."""
    for spine in ("top", "right", "left"):
        axes.spines[spine].set_visible(False)
    axes.spines["bottom"].set_color(colours["muted"])
    for which, scale in ((axes.xaxis, x_scale), (axes.yaxis, y_scale)):
        at = ticks.positions(*scale.limits, scale.axis)
        write = ticks.writer(at, scale.axis.format)
        which.set_ticks([scale.place(value) for value in at], [write(value) for value in at])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(color=colours["grid"], linewidth=1)
    axes.tick_params(left=False, bottom=False, labelcolor=colours["muted"], pad=5)


def _label(axis: Axis) -> str:
    text = printable(f"{axis.label} (log scale)" if axis.log else axis.label)
    return textwrap.fill(text, LABEL_WIDTH)


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
