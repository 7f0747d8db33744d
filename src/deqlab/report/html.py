"""Put the page together. All text of a run directory is escaped by jinja2's autoescape."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from deqlab.report import provenance
from deqlab.report.arms import arms_of
from deqlab.report.chart_reader import IMAGES, read_chart
from deqlab.report.charts import Chart, Panel
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
    run: Run
    outcome: str
    sentence: str
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
        runs: Run directories, or directories that contain run directories one level below.

    Returns:
        The text of the page.

    Raises:
        ReportError: There is no run directory, or one cannot be read; the message says what,
            where and what to do.
    """
    import markupsafe

    views = [
        _view(read_run(path), f"run-{number}")
        for number, path in enumerate(find_runs([Path(run) for run in runs]), start=1)
    ]
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(runs=views, badges=BADGES, css=markupsafe.Markup(_resource("style.css")))
    )
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


def _view(run: Run, id: str) -> RunView:
    arms, where = arms_of(run), f"{run.name}/config.json"
    charts, grids = [], []
    for spec in run.charts:
        if spec.get("kind") == IMAGES:
            grids.append(read_images(spec, arms, where=where))
        else:
            charts.append(read_chart(spec, arms, where=where))
    tables = [read_table(spec, arms, where=where) for spec in run.tables]
    commands = provenance.commands(run)
    jobs = f"{len(run.jobs)} {'job' if len(run.jobs) == 1 else 'jobs'}"
    return RunView(
        id=id,
        run=run,
        outcome=run.verdict.outcome if run.verdict else "unfinished",
        sentence=run.verdict.sentence
        if run.verdict
        else f"unfinished: {jobs} done; run the same command again to finish it",
        facts=provenance.facts(run, len(arms)),
        charts=_chart_views(charts, id),
        grids=_grid_views(grids, id),
        tables=tuple(tables),
        origin=provenance.origin(run),
        command=provenance.command_of(run, commands[0]),
        commands=commands,
        sessions=len(run.sessions),
        provenance=provenance.sessions(run),
        config=provenance.settings(run),
    )


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
