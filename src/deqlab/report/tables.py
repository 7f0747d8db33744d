"""Tables: those that config.json declares, and the numbers behind each chart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deqlab.report.arms import Arm, seeds_in_words
from deqlab.report.charts import Chart, Panel
from deqlab.report.formats import Format, format_named, interval, median, number, si
from deqlab.report.rows import ReportError, rows_of
from deqlab.report.statistics import Spread, spread
from deqlab.report.statistics import number as read_number
from deqlab.runs.reading import Record

BETTER = (None, "higher", "lower")
NOTHING = "\N{EN DASH}"  # there is no such value

SOLVES = frozenset(
    {
        "adjoint_converged",
        "adjoint_products",
        "converged",
        "evaluations",
        "residual",
        "residual_max",
        "test_evaluations",
        "train_converged",
    }
)
"""Fields about solves: null in rows of a network without one, whose converged share is null."""

# One row of a table: an arm, and the value of the `by` field ("" if it is the arm itself).
Group = tuple[str, str]


@dataclass(frozen=True)
class Cell:
    """What one cell says; `detail` is set smaller below it."""

    text: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Head:
    """The header of a row, with the mark of an arm if it is one."""

    text: str
    arm: Arm | None = None


@dataclass(frozen=True)
class TableRow:
    """One row."""

    heads: tuple[Head, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first columns are headers of their rows."""

    title: str
    caption: str
    heads: tuple[Head, ...]
    columns: tuple[Head, ...]
    rows: tuple[TableRow, ...]
    note: str = ""


def read_table(spec: Record, arms: Sequence[Arm], *, where: str) -> Table:
    """Build the table that `spec` declares from the rows of `arms`.

    Args:
        spec: One entry of report.tables.
        arms: The arms of the run.
        where: The file of `spec`, for error messages.

    Raises:
        ReportError: The declaration is incomplete or names an unknown format.
    """
    where = f"{where}: table {spec.get('title', '')!r}"
    for name in ("title", "rows", "by"):
        if not isinstance(spec.get(name), str):
            raise ReportError(f"{where} needs a text {name!r}; correct config.json")
    specs = spec.get("columns")
    if not isinstance(specs, list) or not specs:
        raise ReportError(f"{where} needs a list of 'columns'; correct config.json")
    by = None if spec["by"] == "arm" else spec["by"]
    fields = {one.get("field") for one in specs if isinstance(one, dict)}
    rows = _rows(arms, spec["rows"], by)
    # An arm that has nothing to say in this table is not in it.
    rows = {key: of for key, of in rows.items() if any(fields & row.keys() for row in of.values())}
    columns = [_column(one, rows, where=where) for one in specs]
    labels = {arm.name: Head(arm.label, arm) for arm in arms}
    by_label = str(spec.get("by_label") or spec["by"].replace("_", " "))
    return Table(
        title=spec["title"],
        caption=str(spec.get("caption") or ""),
        heads=(Head("arm"), Head(by_label)) if by else (Head("arm"),),
        columns=tuple(Head(str(one.get("label") or one["field"])) for one in specs),
        rows=tuple(
            TableRow((labels[name], Head(value)) if by else (labels[name],), cells)
            for (name, value), cells in zip(rows, zip(*columns, strict=True), strict=True)
        ),
        note=_note(arms, specs),
    )


def _rows(arms: Sequence[Arm], kind: str, by: str | None) -> dict[Group, dict[int, Record]]:
    """The rows that each line of the table is about, by seed; fields of the summary fill in."""
    rows: dict[Group, dict[int, Record]] = {}
    for arm in arms:
        for job in arm.jobs:
            for row in rows_of(job, kind):
                full = {**job.summary, **row}
                key = (arm.name, _text(full.get(by)) if by else "")
                rows.setdefault(key, {})[job.seed] = full
    return rows


def _column(spec: Record, rows: dict[Group, dict[int, Record]], *, where: str) -> list[Cell]:
    if not isinstance(spec, dict) or not isinstance(spec.get("field"), str):
        raise ReportError(f"{where} has a column without a text 'field'; correct config.json")
    field, better = spec["field"], spec.get("better")
    where = f"{where}, column {field!r}"
    if better not in BETTER:
        raise ReportError(
            f"{where} has better {better!r}, which is none of higher, lower; correct config.json"
        )
    found = [[row[field] for row in of.values() if _has(row, field)] for of in rows.values()]
    if spec.get("format") == "text":
        return [Cell(", ".join(dict.fromkeys(map(_text, of))) or NOTHING) for of in found]
    form = format_named(str(spec.get("format", "number")), where=where)
    spreads = [spread(read_number(v, field=field, where=where) for v in of) for of in found]
    cells = [_cell(of, form) for of in spreads]
    # An arm that lost seeds to non-finite values must not win by the seeds that are left.
    whole = [of.median for of in spreads if of.count and not of.nonfinite]
    if better is None or not whole:
        return cells
    best = max(whole) if better == "higher" else min(whole)
    return [
        replace(cell, best=of.median == best and not of.nonfinite)
        for cell, of in zip(cells, spreads, strict=True)
    ]


def _has(row: Record, field: str) -> bool:
    """Whether the field is one of this row: a network without a solve has none about it."""
    return field in row and not (field in SOLVES and row.get("converged") is row[field] is None)


def _cell(of: Spread, form: Format) -> Cell:
    if not of.count + of.nonfinite:
        return Cell(NOTHING)
    parts = [interval(of, form)]
    if of.count and of.nonfinite:
        parts.append(f"{of.nonfinite} of {of.count + of.nonfinite} seeds not finite")
    return Cell(median(of, form), "; ".join(filter(None, parts)))


def _text(value: object) -> str:
    if value is None:
        return NOTHING
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    # An integer is exact, and may be beyond the range of a float.
    return f"{value:,}" if isinstance(value, int) else median(spread([value]), number)


def _note(arms: Sequence[Arm], specs: Sequence[Record]) -> str:
    seeds = seeds_in_words(arms)
    if not seeds:
        return "No job has finished yet."
    text = "One seed."
    if seeds != "one seed":
        text = f"Median of {seeds}; below it minimum to maximum, where they differ."
    marked = any(spec.get("better") for spec in specs)
    return f"{text} \N{BLACK STAR} marks the best of a column." if marked else text


def data_table(chart: Chart, panel: Panel) -> Table:
    """All numbers that `panel` draws, so that nobody needs to see the picture."""
    title = f"{chart.title}: {panel.title}" if panel.title else chart.title
    x_form, y_form = _exact(chart.x.format), _exact(chart.y.format)
    line = chart.kind != "scatter"
    marks = tuple(Head(one.arm.label, one.arm) for one in panel.series)
    return Table(
        title=f"Data of the chart “{title}”",
        caption=chart.legend,
        heads=(Head(chart.x.label if line else "arm"),),
        columns=marks if line else (Head(chart.x.label), Head(chart.y.label)),
        rows=tuple(_by_x(panel, x_form, y_form) if line else _by_arm(panel, x_form, y_form)),
    )


def _by_x(panel: Panel, x_form: Format, y_form: Format) -> Iterable[TableRow]:
    columns = [{p.x.median: p.y for p in one.points} for one in panel.series]
    for x in sorted({x for column in columns for x in column}):
        cells = (_cell(of[x], y_form) if x in of else Cell(NOTHING) for of in columns)
        yield TableRow((Head(x_form(x)),), tuple(cells))


def _by_arm(panel: Panel, x_form: Format, y_form: Format) -> Iterable[TableRow]:
    for one in panel.series:
        for p in one.points:
            yield TableRow(
                (Head(one.arm.label, one.arm),), (_cell(p.x, x_form), _cell(p.y, y_form))
            )


def _exact(form: Format) -> Format:
    """One digit more than usual: a picture shows differences that a table would round off."""
    if form is not number:
        return form
    return lambda value: number(value, digits=4) if abs(value) < 1e6 else si(value)
