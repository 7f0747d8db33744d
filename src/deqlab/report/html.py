"""Put the page together. All text of a run directory is escaped by jinja2's autoescape."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deqlab.report import provenance
from deqlab.report.arms import arms_of
from deqlab.report.chart_reader import IMAGES, read_chart
from deqlab.report.charts import Chart, Panel
from deqlab.report.forest import RESULTS, Forest, forest
from deqlab.report.images import Grid, grid_table, read_images
from deqlab.report.rows import Run, find_runs, read_run
from deqlab.report.tables import Table, data_table, read_table

if TYPE_CHECKING:
    import jinja2

# Sign and CSS class of each outcome; "unfinished" stands for a missing verdict.
BADGES = {
    "holds": ("✓", "good"),
    "holds partly": ("◐", "mixed"),
    "does not hold here": ("✕", "bad"),
    "undecided": ("?", "open"),
    "not judged": ("–", "none"),  # noqa: RUF001, a dash is the sign
    "unfinished": ("…", "open"),
}


@dataclass(frozen=True, kw_only=True)
class PanelView:
    """A panel with its picture."""

    panel: Panel
    svg: str
    data: Table


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart with its pictures; a `wide` one has a row of the page to itself."""

    chart: Chart
    panels: tuple[PanelView, ...]
    wide: bool


@dataclass(frozen=True, kw_only=True)
class GridView:
    """Small pictures in a grid."""

    grid: Grid
    svg: str
    data: Table


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Everything that the section of one run shows."""

    id: str
    title: str
    run: Run
    outcome: str
    sentence: str
    reason: str
    details: tuple[str, ...]
    chips: tuple[tuple[str, str, str], ...]
    forest: Forest | None
    facts: tuple[tuple[str, str], ...]
    charts: tuple[ChartView, ...]
    grids: tuple[GridView, ...]
    tables: tuple[Table, ...]
    origin: str
    command: str
    commands: tuple[str, ...]
    sessions: int
    provenance: tuple[tuple[str, tuple[str, ...]], ...]
    config: str


def render(runs: Sequence[Path]) -> str:
    """Render run directories as one self-contained HTML page that loads nothing.

    The same files give the same bytes.

    Args:
        runs: Run directories, or folders that contain some, nested or not.

    Returns:
        The text of the page.

    Raises:
        ReportError: There is no run directory, or one cannot be read; the message says what,
            where and what to do.
    """
    import markupsafe

    read = [read_run(path) for path in find_runs([Path(run) for run in runs])]
    titles = provenance.titles(read)
    views = [
        _view(run, f"run-{number}", title)
        for number, (run, title) in enumerate(zip(read, titles, strict=True), start=1)
    ]
    css = markupsafe.Markup(_resource("style.css"))
    template = _environment().get_template("page.html.j2")
    page = template.render(runs=views, badges=BADGES, results=RESULTS, css=css)
    # JSON can spell half of a surrogate pair, which no file can hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def _environment() -> "jinja2.Environment":
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _resource(name: str) -> str:
    return (resources.files("deqlab.report") / "templates" / name).read_text(encoding="utf-8")


def _view(run: Run, id: str, title: str) -> RunView:
    arms, where = arms_of(run), f"{run.name}/config.json"
    charts, grids = [], []
    for spec in run.charts:
        if spec.get("kind") == IMAGES:
            grids.append(read_images(spec, arms, where=where))
        else:
            charts.append(read_chart(spec, arms, where=where, settings=run.settings))
    tables = [read_table(spec, arms, where=where) for spec in run.tables]
    commands = provenance.commands(run)
    answer = _answer(run)
    return RunView(
        id=id,
        title=title,
        run=run,
        **answer,
        chips=provenance.chips(run),
        forest=forest(run.verdict.contest)
        if run.verdict is not None and run.verdict.contest is not None
        else None,
        facts=provenance.facts(run, len(arms)),
        charts=_chart_views(charts, id),
        grids=_grid_views(grids, id),
        tables=tuple(tables),
        origin=provenance.origin(run),
        command=provenance.command_of(run, commands[-1]),
        commands=commands,
        sessions=len(run.sessions),
        provenance=provenance.sessions(run),
        config=provenance.settings(run),
    )


def _answer(run: Run) -> dict[str, Any]:
    """Return the outcome, its sentence, why there is none, and details."""
    verdict = run.verdict
    if verdict is None:
        jobs = f"{len(run.jobs)} {'job' if len(run.jobs) == 1 else 'jobs'}"
        told = f"unfinished: {jobs} done; run the same command again to finish it"
        return {"outcome": "unfinished", "sentence": told, "reason": "", "details": ()}
    details = verdict.details
    # The first detail of a verdict that is none says why.
    first = 1 if verdict.outcome == "not judged" else 0
    return {
        "outcome": verdict.outcome,
        "sentence": verdict.sentence,
        "reason": "".join(details[:first]),
        "details": details[first:],
    }


def _chart_views(charts: Sequence[Chart], id: str) -> tuple[ChartView, ...]:
    from deqlab.report import plots  # matplotlib takes a second to import

    views: list[ChartView] = []
    single = [len(chart.panels) == 1 for chart in charts] + [False]
    paired = False  # the chart before this one waits for a neighbour
    for number, chart in enumerate(charts, start=1):
        pictures = plots.draw(chart, prefix=f"{id}-c{number}")
        alone = not single[number - 1] or not (paired or single[number])
        paired = not alone and not paired
        views.append(
            ChartView(
                chart=chart,
                panels=tuple(
                    PanelView(panel=panel, svg=svg, data=data_table(chart, panel))
                    for panel, svg in zip(chart.panels, pictures, strict=True)
                ),
                wide=alone,
            )
        )
    return tuple(views)


def _grid_views(grids: Sequence[Grid], id: str) -> tuple[GridView, ...]:
    from deqlab.report import pictures  # matplotlib takes a second to import

    return tuple(
        GridView(
            grid=grid,
            svg=pictures.draw(grid, prefix=f"{id}-g{number}"),
            data=grid_table(grid),
        )
        for number, grid in enumerate(grids, start=1)
    )
