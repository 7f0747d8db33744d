"""Figures that stand alone, for a paper: drawn as on the page, on white, with their legend.

Text is outlines in SVG, and embedded TrueType in PDF, so that a figure looks the same everywhere.
The same run gives the same bytes.
"""

import io
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deqlab.report.arms import Arm
from deqlab.report.charts import Chart
from deqlab.report.forest import RESULTS, Bar, Forest
from deqlab.report.marks import Colours
from deqlab.report.plots import FONT_SIZE, HEIGHT, WIDTH, painter, settings
from deqlab.report.svg import printable

COLUMNS = 2
"""Panels side by side, at most."""

ROW = 0.36
"""Height of a bar of a forest plot, in inches."""

_SETTINGS: dict[str, Any] = {"svg.fonttype": "path", "svg.hashsalt": "deqlab", "pdf.fonttype": 42}
_NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
_MARKS = {"win": ("c0", "o"), "loss": ("c1", "D"), "tie": ("muted", "o"), "neither": ("muted", "x")}


def colours() -> Colours:
    """Return the colours of the page on a light screen, by role."""
    css = (resources.files("deqlab.report") / "templates" / "style.css").read_text("utf-8")
    light = css[: css.index("@media")]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))


def draw_chart(chart: Chart, format: str) -> bytes | None:
    """Draw all panels of a chart as one figure; None if there is nothing to draw.

    Args:
        chart: The chart.
        format: "svg" or "pdf".
    """
    palette = colours()
    paint = painter(chart, palette)
    panels = [panel for panel in chart.panels if panel.drawable]
    if paint is None or not panels:
        return None
    across = min(COLUMNS, len(panels))
    down = math.ceil(len(panels) / across)
    arms = list({s.arm.name: s.arm for panel in panels for s in panel.series}.values())
    with settings(**_SETTINGS):
        legend = 0.0 if chart.kind == "heatmap" else 0.3 * math.ceil(len(arms) / across)
        size = (across * WIDTH / 72, down * HEIGHT / 72 + legend)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            paint(axes, panel)
            if panel.title:
                text = printable(f"{chart.panel_by}: {panel.title}".replace("_", " "))
                axes.text(0.5, 1.1, text, transform=axes.transAxes, ha="center", weight="bold")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if legend:
            _legend(figure, arms, chart, palette, across)
        return _saved(figure, format)


def _legend(figure: Figure, arms: Sequence[Arm], chart: Chart, palette: Colours, n: int) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=palette[arm.colour],
            linewidth=arm.width if chart.kind == "line" else 0,
            dashes=tuple(length / arm.width for length in arm.dash) or (None, None),
            marker=arm.marker.code,
            markersize=8 * arm.marker.scale,
            markeredgecolor=palette["surface"],
        )
        for arm in arms
    ]
    labels = [printable(arm.label) for arm in arms]
    figure.legend(handles, labels, loc="outside lower left", ncols=n, frameon=False)


def draw_forest(forest: Forest, format: str) -> bytes:
    """Draw a forest plot as a figure.

    Args:
        forest: What is shown.
        format: "svg" or "pdf".
    """
    palette = colours()
    lines: list[str | Bar] = []
    for group, bars in forest.groups:
        lines += [f"At {group}"] * bool(group)
        lines += bars
    with settings(**_SETTINGS):
        figure = Figure(figsize=(1.5 * WIDTH / 72, ROW * (len(lines) + 2.5)), layout="constrained")
        axes = figure.add_subplot()
        for spine in ("top", "right", "left"):
            axes.spines[spine].set_visible(False)
        axes.axvline(forest.neutral, color=palette["muted"], linewidth=1.2, dashes=(4, 3))
        for y, line in enumerate(lines):
            if isinstance(line, Bar):
                _bar(axes, line, y, palette)
        names = [x.rival.label if isinstance(x, Bar) else x for x in lines]
        axes.set_yticks(range(len(lines)), list(map(printable, names)))
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set_fontweight("normal" if isinstance(line, Bar) else "bold")
        axes.set_xticks([at for at, _ in forest.ticks], [text for _, text in forest.ticks])
        axes.set(xlim=(0, 1), ylim=(len(lines) - 0.5, -0.5))
        axes.set_xlabel(printable(forest.contest.unit), fontsize=FONT_SIZE)
        axes.tick_params(left=False)
        return _saved(figure, format)


def _bar(axes: Axes, bar: Bar, y: int, palette: Colours) -> None:
    colour, marker = _MARKS[bar.rival.result]
    won = bar.rival.result in ("win", "loss")
    style = "--" if bar.rival.result == "neither" else "-"
    axes.plot([bar.low, bar.high], [y, y], color=palette[colour], linewidth=2.5, linestyle=style)
    face = palette[colour] if won else palette["surface"]
    axes.plot(bar.at, y, color=palette[colour], marker=marker, markersize=8, markerfacecolor=face)
    sign, words = RESULTS[bar.rival.result]
    text = f"{sign} {words}, {bar.told}"
    axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center")


def _saved(figure: Figure, format: str) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=format, facecolor="white", metadata=_NO_DATE[format])
    return out.getvalue()
