"""The numbers behind each chart that config.json declares, from the rows of a run.

A line chart has, per arm, one point for every x: the median over seeds, with its range; a heat map
has the same points, and the values of each seed. A scatter chart has one point per arm. With
`panel_by`, each distinct value of that field gets a panel. If the rows of the chart have the field,
a panel shows those with its value; else the summary rows have it, and arms without a value (the
reference) are in all panels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deqlab.report.arms import Arm, seeds_in_words
from deqlab.report.charts import Axis, Chart, Panel, Point, Series
from deqlab.report.formats import default_format, format_named
from deqlab.report.rows import Job, ReportError, rows_of
from deqlab.report.statistics import BySeed, number, spread
from deqlab.runs.reading import Record

IMAGES = "images"
"""The kind of chart that `read_images` reads; the others are read here."""

KINDS = ("line", "scatter", "heatmap", IMAGES)

SCALES = ("linear", "log")


def read_chart(
    spec: Record, arms: Sequence[Arm], *, where: str, settings: Record | None = None
) -> Chart:
    """Build the chart that `spec` declares from the rows of `arms`.

    Args:
        spec: One entry of report.charts.
        arms: The arms of the run.
        where: The file of `spec`, for error messages.
        settings: The config of the run, whose fields a level may name.

    Raises:
        ReportError: The declaration is incomplete or of an unknown kind.
    """
    where = f"{where}: chart {spec.get('title', '')!r}"
    kind = _one_of(spec, "kind", KINDS, where=where)
    for name in ("title", "rows", "x", "y"):
        if not isinstance(spec.get(name), str):
            raise ReportError(f"{where} needs a text {name!r}; correct config.json")
    panel_by = spec.get("panel_by")
    if not isinstance(panel_by, str | None):
        raise ReportError(f"{where} needs a text or null 'panel_by', got {panel_by!r}; correct it")
    x, y = (_axis(spec, name, where=where) for name in ("x", "y"))
    series = _dots if kind == "scatter" else _lines
    panels = [
        _panel(title, list(series(members, rows, x, y, where=where)), x, y)
        for title, members, rows in _panels(arms, panel_by, spec["rows"])
    ]
    return Chart(
        kind=kind,
        title=spec["title"],
        caption=str(spec.get("caption") or ""),
        x=x,
        y=y,
        panel_by=panel_by,
        panels=tuple(panels),
        legend=_legend(kind, panels),
        level=_level(spec, y, settings or {}, where=where),
    )


def _level(spec: Record, y: Axis, settings: Record, *, where: str) -> float | None:
    named = spec.get("level") or []
    if not isinstance(named, list):
        raise ReportError(f"{where} needs a list 'level', got {named!r}; correct config.json")
    found = [settings.get(one) if isinstance(one, str) else one for one in named]
    values = [number(one, field="level", where=where) for one in found if one is not None]
    return min(filter(y.shows, values), default=None)


def _one_of(spec: Record, name: str, known: tuple[str, ...], *, where: str) -> str:
    value = spec.get(name)
    if value not in known:
        raise ReportError(
            f"{where} has {name} {value!r}, which is none of {', '.join(known)}; correct "
            "config.json, or use the version of deqlab that wrote it"
        )
    return str(value)


def _axis(spec: Record, name: str, *, where: str) -> Axis:
    field = spec[name]
    form = str(spec.get(f"{name}_format") or default_format(field))
    spec = {f"{name}_scale": "linear", **spec}
    return Axis(
        field=field,
        label=str(spec.get(f"{name}_label") or field.replace("_", " ")),
        scale=_one_of(spec, f"{name}_scale", SCALES, where=where),
        format=format_named(form, where=f"{where}, {name}_format"),
    )


@dataclass(frozen=True)
class Rows:
    """Which rows of a job a panel shows: those of one kind, and of one value of a field."""

    kind: str
    field: str | None = None
    value: object = None

    def of(self, job: Job) -> Iterable[Record]:
        """Return them."""
        rows = rows_of(job, self.kind)
        return rows if self.field is None else (r for r in rows if r.get(self.field) == self.value)


def _panels(arms: Sequence[Arm], field: str | None, kind: str) -> list[tuple[str, list[Arm], Rows]]:
    """Title, members and rows of each panel."""
    values = [
        row[field]
        for arm in arms
        for job in arm.jobs
        for row in rows_of(job, kind)
        if field is not None and field in row and kind != "summary"
    ]
    if values:
        every = dict.fromkeys(values)
        return [(str(value), list(arms), Rows(kind, field, value)) for value in every]
    found = {arm.name: arm.jobs[0].summary.get(field) if field else None for arm in arms}
    titles = {name: str(value) for name, value in found.items() if value is not None}
    if not titles:
        return [("", list(arms), Rows(kind))]
    return [
        (title, [arm for arm in arms if titles.get(arm.name, title) == title], Rows(kind))
        for title in dict.fromkeys(titles.values())
    ]


def _lines(arms: Iterable[Arm], rows: Rows, x: Axis, y: Axis, *, where: str) -> Iterable[Series]:
    for arm in arms:
        values: BySeed[float] = BySeed()
        lost = 0
        for job in arm.jobs:
            for row in rows.of(job):
                if x.field in row and y.field in row:
                    at = number(row[x.field], field=x.field, where=where)
                    if math.isnan(at):
                        lost += 1
                        continue
                    values.put(at, job.seed, number(row[y.field], field=y.field, where=where))
        points = (Point(x=spread([at]), y=of) for at, of in sorted(values.spreads().items()))
        yield Series(arm=arm, points=tuple(points), lost=lost, by_seed=values)


def _dots(arms: Iterable[Arm], rows: Rows, x: Axis, y: Axis, *, where: str) -> Iterable[Series]:
    for arm in arms:
        values: BySeed[str] = BySeed()
        for job in arm.jobs:
            for row in rows.of(job):
                for axis in (x, y):
                    if axis.field in row:
                        value = number(row[axis.field], field=axis.field, where=where)
                        values.put(axis.field, job.seed, value)
        found = values.spreads()
        if x.field in found and y.field in found:
            yield Series(arm=arm, points=(Point(x=found[x.field], y=found[y.field]),), by_seed={})


def _panel(title: str, every: Sequence[Series], x: Axis, y: Axis) -> Panel:
    series = tuple(one for one in every if one.points)
    points = [point for one in series for point in one.points]
    lost = sum(one.lost for one in every)
    return Panel(
        title=title,
        series=series,
        notes=tuple(_notes(points, lost, x, y)),
        drawable=any(x.shows(p.x.median) and y.shows(p.y.median) for p in points),
    )


def _notes(points: Sequence[Point], lost: int, x: Axis, y: Axis) -> Iterable[str]:
    if not points and not lost:
        yield f"No finished job has rows with “{x.field}” and “{y.field}”, so nothing is drawn."
    nonfinite = lost + sum(p.x.nonfinite + p.y.nonfinite for p in points)
    if nonfinite:
        yield f"{_count(nonfinite, 'non-finite value is', 'non-finite values are')} not drawn."
    pairs = [(axis, of) for p in points for axis, of in ((x, p.x), (y, p.y)) if axis.log]
    outside = sum(of.median <= 0 for _, of in pairs)
    if outside:
        yield (
            f"{_count(outside, 'median is', 'medians are')} zero or negative, which a "
            "logarithmic axis cannot show, and not drawn."
        )
    if any(of.low <= 0 < of.median for _, of in pairs):
        yield "Where the minimum is zero or negative, its range is cut at the edge of the chart."


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _legend(kind: str, panels: Sequence[Panel]) -> str:
    seeds = seeds_in_words([one.arm for panel in panels for one in panel.series])
    if kind == "heatmap" and seeds:
        return (
            f"{seeds.capitalize()}, a row for each: the stronger the colour, the larger the value."
        )
    if seeds in ("", "one seed"):
        return f"{seeds.capitalize()}, so no spread is shown." if seeds else ""
    mark, extent = ("Line", "band") if kind == "line" else ("Point", "bars")
    return f"{mark}: median of {seeds}; {extent}: minimum to maximum."
