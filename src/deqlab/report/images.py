"""Small pictures in a grid: what the chart kind "images" declares.

A row of the chart's kind is one picture: `pixels` holds numbers from 0 to 1 in lists of lists,
(height, width) for a heat map or (height, width, 3) for red, green and blue. Two of its fields say
on which line of the grid it stands, and in which column. All seeds of a run would be too many
pictures: of each place the first one on disk is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deqlab.report.arms import Arm
from deqlab.report.rows import ReportError, rows_of
from deqlab.report.tables import Cell, Head, Table, TableRow
from deqlab.runs.reading import Record

SIZE = 76
"""Of a picture, in pixels of the page, unless it is said otherwise."""

COLOURS = {"heat": "magma", "grey": "gray"}
"""The colour maps of matplotlib; "magma" can be read without its hues."""

Pixels = tuple[Any, ...]
"""Lines of numbers, or of colours."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture: its lines of pixels, and the mean of all numbers in them."""

    pixels: Pixels
    mean: float

    @property
    def size(self) -> str:
        """Height and width."""
        return f"{len(self.pixels)} \N{MULTIPLICATION SIGN} {len(self.pixels[0])}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One chart of pictures, by (line, column), each of so many pixels of the page."""

    title: str
    caption: str
    lines: tuple[str, ...]
    columns: tuple[str, ...]
    pictures: dict[tuple[str, str], Picture]
    size: int
    colour_map: str


def read_images(spec: Record, arms: Sequence[Arm], *, where: str) -> Grid:
    """Build the grid that `spec` declares from the rows of `arms`.

    Args:
        spec: One entry of report.charts, of the kind "images".
        arms: The arms of the run.
        where: The file of `spec`, for error messages.

    Raises:
        ReportError: The declaration is incomplete, or a picture is none.
    """
    where = f"{where}: chart {spec.get('title', '')!r}"
    for name in ("title", "rows", "line", "column"):
        if not isinstance(spec.get(name), str):
            raise ReportError(f"{where} needs a text {name!r}; correct config.json")
    size, colours = spec.get("size", SIZE), spec.get("colours", "heat")
    if not (isinstance(size, int) and size > 0 and colours in list(COLOURS)):
        raise ReportError(
            f"{where} needs a 'size' of 1 or more, and 'colours' among {', '.join(COLOURS)}, got "
            f"{size!r} and {colours!r}; correct config.json"
        )
    pictures: dict[tuple[str, str], Picture] = {}
    for row in (row for arm in arms for job in arm.jobs for row in rows_of(job, spec["rows"])):
        place = (str(row.get(spec["line"], "")), str(row.get(spec["column"], "")))
        if place not in pictures:
            pictures[place] = _picture(row.get("pixels"), where=f"{where}, picture {place}")
    return Grid(
        title=spec["title"],
        caption=str(spec.get("caption") or ""),
        lines=tuple(dict.fromkeys(line for line, _ in pictures)),
        columns=tuple(dict.fromkeys(column for _, column in pictures)),
        pictures=pictures,
        size=size,
        colour_map=COLOURS[colours],
    )


def grid_table(grid: Grid) -> Table:
    """What the pictures hold, in a few numbers."""
    return Table(
        title=f"Data of the chart “{grid.title}”",
        caption="Pixels, and the mean of their numbers, from 0 to 1.",
        heads=(Head("picture"),),
        columns=tuple(map(Head, grid.columns)),
        rows=tuple(
            TableRow((Head(line),), tuple(_cell(grid, line, column) for column in grid.columns))
            for line in grid.lines
        ),
    )


def _cell(grid: Grid, line: str, column: str) -> Cell:
    picture = grid.pictures.get((line, column))
    return Cell("") if picture is None else Cell(f"{picture.mean:.3f}", picture.size)


def _picture(pixels: object, *, where: str) -> Picture:
    numbers: list[float] = []
    shape = _shape(pixels, numbers)
    if shape is None or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ReportError(
            f"{where}: 'pixels' must be numbers from 0 to 1 in lists of one length, of shape "
            "(height, width) or (height, width, 3); correct that row of rows.jsonl"
        )
    assert isinstance(pixels, list)
    return Picture(pixels=tuple(pixels), mean=math.fsum(numbers) / len(numbers))


def _shape(value: object, numbers: list[float]) -> tuple[int, ...] | None:
    """The shape of nested lists of numbers from 0 to 1, which join `numbers`; else None."""
    if isinstance(value, list):
        shapes = {_shape(one, numbers) for one in value}
        inner = shapes.pop() if len(shapes) == 1 else None
        return None if inner is None else (len(value), *inner)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    numbers.append(float(value))
    return ()
