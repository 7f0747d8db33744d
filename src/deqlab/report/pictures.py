"""Draw a grid of small pictures as inline SVG.

The pictures are embedded as they are, one pixel a number, and the browser enlarges them without
smoothing: a map of 8 x 8 numbers shows 64 squares.
"""

import io
import textwrap
import warnings
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from deqlab.report.images import Grid, Picture
from deqlab.report.svg import SENTINELS, inline, printable

GAP = 6  # between pictures, in CSS pixels
LEFT, TOP = 106, 40  # what the names of lines and columns need
LABEL_WIDTH = 12  # characters of a name in a line of it
CHARACTER = 6.3  # of a name, in CSS pixels

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a name is a dollar
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "font.size": 12.5,
}


def draw(grid: Grid, *, prefix: str) -> str:
    """Draw the grid; one without pictures gives an empty text.

    Args:
        grid: The grid.
        prefix: Start of all ids, unique in the page.
    """
    if not grid.pictures:
        return ""
    out = io.StringIO()
    with style.context(_SETTINGS, after_reset=True), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        tooltips = _draw(grid, out)
    return inline(
        out.getvalue(),
        prefix=prefix,
        title=grid.title,
        description=_description(grid),
        tooltips=tooltips,
    )


def _draw(grid: Grid, out: io.StringIO) -> dict[str, str]:
    """Write the grid to `out`, and return the name of each picture by its id."""
    cell = grid.size
    width = LEFT + len(grid.columns) * (cell + GAP)
    height = TOP + len(grid.lines) * (cell + GAP)
    # 72 units to the inch make one point of matplotlib one pixel of the page.
    figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
    FigureCanvasSVG(figure)
    x = {column: LEFT + j * (cell + GAP) for j, column in enumerate(grid.columns)}
    y = {line: height - TOP - (i + 1) * (cell + GAP) + GAP for i, line in enumerate(grid.lines)}
    for column, left in x.items():
        middle, top = (left + cell / 2) / width, 1 - TOP / 2 / height
        _write(figure, column, middle, top, int(cell / CHARACTER), align="center")
    for line, bottom in y.items():
        _write(figure, line, 0.0, (bottom + cell / 2) / height, LABEL_WIDTH, align="left")
    tooltips = {}
    for number, ((line, column), picture) in enumerate(grid.pictures.items()):
        box = (x[column] / width, y[line] / height, cell / width, cell / height)
        _show(figure, picture, box, grid.colour_map, id=f"picture-{number}")
        tooltips[f"picture-{number}"] = f"{line}: {column}"
    figure.savefig(out, format="svg", transparent=True)
    return tooltips


def _show(
    figure: Figure,
    picture: Picture,
    box: tuple[float, float, float, float],
    colour_map: str,
    *,
    id: str,
) -> None:
    axes = figure.add_axes(box)
    axes.set_axis_off()
    axes.set_gid(id)
    axes.imshow(
        np.asarray(picture.pixels, dtype=float),  # whole numbers would count to 255
        vmin=0,
        vmax=1,
        cmap=colour_map,
        interpolation="none",  # embedded as it is
        aspect="auto",
    )


def _write(figure: Figure, text: str, x: float, y: float, characters: int, *, align: str) -> None:
    wrapped = textwrap.fill(printable(text), max(1, characters))
    figure.text(x, y, wrapped, color=SENTINELS["ink"], ha=align, va="center")


def _description(grid: Grid) -> str:
    count = len(grid.pictures)
    return (
        f"{count} {'picture' if count == 1 else 'pictures'}. Columns: {', '.join(grid.columns)}. "
        f"Lines: {', '.join(grid.lines)}."
    )
