"""What the report shows of an experiment: charts, pictures and tables of fields of its rows.

VOCABULARY says once how a field is named and written. A page names the fields; it says more only
where this page calls a field something else:

    chart("point", "width", "error", title="Error against the width", caption="In spectral norm.")
    table("point", "error", column("flops", "FLOPs per image"), by="width", title=.., caption=..)
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Format: TypeAlias = Literal["percent", "si", "integer", "bytes", "seconds", "number", "text"]
Better: TypeAlias = Literal["higher", "lower"]
Scale: TypeAlias = Literal["linear", "log"]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart that the report draws from rows of one kind; medians and spread over seeds.

    Attributes:
        kind: "line" over x, "scatter" with one point per arm, or "heatmap" with a row per arm and
            seed, a cell per x, and y as its shade.
        rows: The kind of rows.
        panel_by: A field of the rows, or of the summary rows: one panel for each of its values.
            Arms for which it is null are in every panel.
        y_format: How the numbers on the y axis are written.
        level: Numbers, or fields of the config that hold one: the least is a tolerance, which is
            drawn as a line across.
    """

    kind: Literal["line", "scatter", "heatmap"] = "line"
    title: str
    caption: str
    rows: str
    x: str
    y: str
    x_label: str
    y_label: str
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    panel_by: str | None = None
    y_format: Format = "number"
    level: tuple[str | float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Images:
    """A grid of small pictures that the report draws from rows of one kind.

    Each row has `pixels`: numbers from 0 to 1, (height, width) or (height, width, 3). Of all rows
    with the same place in the grid the first one is shown.

    Attributes:
        rows: The kind of rows.
        line: The field that names the line of the grid.
        column: The field that names the column.
        size: Of a picture, in pixels of the page.
        colours: "heat", or "grey" for photographs; pictures of three colours have their own.
    """

    kind: Literal["images"] = "images"
    title: str
    caption: str
    rows: str
    line: str
    column: str
    size: int = 76
    colours: Literal["heat", "grey"] = "heat"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table; `better` marks its best value."""

    field: str
    label: str
    format: Format
    better: Better | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that the report makes from rows of one kind, by arm and possibly one more field."""

    title: str
    caption: str
    rows: str
    columns: tuple[Column, ...]
    by: str = "arm"


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the report shows of an experiment."""

    charts: tuple[Chart | Images, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Field:
    """How a field of the rows is named and written.

    Attributes:
        label: The heading of its column.
        format: How its numbers are written in a table.
        better: Whether higher or lower values are better; None where neither is.
        axis: The label of its axis; None if that is `label`.
        scale: The scale of its axis.
    """

    label: str
    format: Format = "number"
    better: Better | None = None
    axis: str | None = None
    scale: Scale = "linear"


VOCABULARY = {
    "alignment": Field("alignment", better="higher"),
    "area": Field("area above half maximum", "percent"),
    "converged": Field("converged", "percent"),
    "d": Field("d", "integer"),
    "density": Field("density"),
    "eigenvalue": Field("eigenvalue", scale="log"),
    "entropy": Field("normalised entropy"),
    "epoch": Field("epoch", "integer"),
    "error": Field("error", better="lower", scale="log"),
    "evaluations": Field("evaluations of f"),
    "flops": Field("FLOPs", "si", "lower", scale="log"),
    "flops_per_step": Field(
        "FLOPs per step", "si", "lower", axis="FLOPs per training step", scale="log"
    ),
    "frequency": Field("frequency", "integer", scale="log"),
    "inference_seconds": Field("inference", "seconds", "lower", axis="time", scale="log"),
    "infinity_norm": Field("largest infinity norm", scale="log"),
    "iteration": Field("evaluation of f", "integer"),
    "iterations": Field("forward iterations", "integer", scale="log"),
    "k": Field("k", "integer"),
    "magnitude": Field("magnitude"),
    "norm": Field("largest norm", axis="largest infinity norm", scale="log"),
    "p": Field("p", "integer", scale="log"),
    "parameters": Field("parameters", "integer"),
    "parts_right": Field("parts right", "percent", "higher"),
    "peak_memory_bytes": Field(
        "peak memory", "bytes", "lower", axis="peak memory (bytes)", scale="log"
    ),
    "perplexity": Field("perplexity", better="lower"),
    "psnr": Field("PSNR (dB)", better="higher"),
    "rank": Field("rank", "integer"),
    "regions": Field("regions", "integer", axis="linear regions", scale="log"),
    "relative_error": Field("relative error", "percent", "lower", scale="log"),
    "residual": Field("residual", axis="relative residual", scale="log"),
    "residual_max": Field("worst relative residual", scale="log"),
    "scale": Field("start s", axis="coefficients s at the start", scale="log"),
    "seconds": Field("training time", "seconds", "lower", scale="log"),
    "stage": Field("stage", "integer"),
    "start": Field("start", "integer"),
    "step": Field("step", "integer", axis="training step"),
    "step_flops": Field("FLOPs a step", "si"),
    "steps": Field("steps", "integer"),
    "test_accuracy": Field("test accuracy", "percent", "higher"),
    "test_loss": Field("test loss", better="lower", scale="log"),
    "train_loss": Field("train loss", better="lower", scale="log"),
    "validation_loss": Field("validation loss", better="lower"),
    "width": Field("width", "integer", scale="log"),
}
"""The fields that more than one chart or table shows."""


def known(field: str) -> Field:
    """Return how `field` is named and written; a field without an entry is its name, a number."""
    return VOCABULARY.get(field, Field(field.replace("_", " ")))


def column(field: str, label: str | None = None, **differs: Any) -> Column:  # noqa: ANN401
    """Return the column of a field.

    Args:
        field: A field of the rows.
        label: What this table calls it, if not as VOCABULARY does.
        differs: Attributes of `Column` that are others here.
    """
    usual = known(field)
    found: dict[str, Any] = {"format": usual.format, "better": usual.better, **differs}
    return Column(field=field, label=label or usual.label, **found)


def table(
    rows: str,
    *fields: str | Column,
    title: str,
    caption: str,
    by: str = "arm",
    mark_best: bool = True,
) -> Table:
    """Return a table of these fields of rows of the kind `rows`.

    Args:
        rows: The kind of rows.
        fields: Names of fields, or columns.
        title: The heading.
        caption: What is shown, in sentences.
        by: A field that has a line of its own for each value, beside the arm.
        mark_best: Whether the best value of a field is marked, as VOCABULARY says what is best.
    """
    unmarked = {} if mark_best else {"better": None}
    columns = tuple(column(each, **unmarked) if isinstance(each, str) else each for each in fields)
    return Table(title=title, caption=caption, rows=rows, columns=columns, by=by)


def chart(rows: str, x: str, y: str, *, title: str, caption: str, **differs: Any) -> Chart:  # noqa: ANN401
    """Return a chart of one field of rows of the kind `rows` against another.

    Args:
        rows: The kind of rows.
        x: The field on the horizontal axis.
        y: The field on the vertical axis.
        title: The heading.
        caption: What is shown, in sentences.
        differs: Attributes of `Chart` that are others here than VOCABULARY says, or have no
            entry there.
    """
    across, up = known(x), known(y)
    found: dict[str, Any] = {
        "x_label": across.axis or across.label,
        "y_label": up.axis or up.label,
        "x_scale": across.scale,
        "y_scale": up.scale,
        # On an axis there are round numbers between whole ones too.
        "y_format": "number" if up.format in ("integer", "si") else up.format,
        **differs,
    }
    return Chart(title=title, caption=caption, rows=rows, x=x, y=y, **found)


def charts_and_table(*charts: Chart, title: str, caption: str, mark_best: bool = True) -> Page:
    """Return charts over one x, and a table of the same numbers by x.

    Args:
        charts: At least one chart, all of rows of one kind and over the same x.
        title: The heading of the table.
        caption: What the table shows, in sentences.
        mark_best: See `table`.
    """
    rows, x, fields = charts[0].rows, charts[0].x, [each.y for each in charts]
    every = table(rows, *fields, title=title, caption=caption, by=x, mark_best=mark_best)
    return Page(charts=charts, tables=(every,))


def default_page(*fields: str, x: str, rows: str = "point") -> Page:
    """Return a page for fields that are measured along x: a chart of each, and a table of all."""
    caption = "Medians over seeds, with the range."
    names = [known(field).label.capitalize() for field in fields]
    against = known(x).axis or known(x).label
    charts = [
        chart(rows, x, field, title=f"{name} against {against}", caption=caption)
        for field, name in zip(fields, names, strict=True)
    ]
    return charts_and_table(*charts, title=", ".join(names), caption=caption)
