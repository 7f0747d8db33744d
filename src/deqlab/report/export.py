"""Write what a report shows for a paper: figures as SVG or PDF, or numbers as CSV, with captions.

A folder gets a file for each forest plot and each chart of each run, named by the run, and
captions.txt with a caption for each. As CSV there is also what every job reached, one line each.
Grids of small pictures are on the page only.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deqlab.report import provenance
from deqlab.report.arms import arms_of
from deqlab.report.chart_reader import IMAGES, read_chart
from deqlab.report.charts import Chart
from deqlab.report.forest import Forest, forest
from deqlab.report.rows import ReportError, Run, find_runs, read_run

FORMATS = ("svg", "pdf", "csv")
LONGEST_NAME = 60


@dataclass(frozen=True)
class Figure:
    """One file: its name without the ending, its caption, and what it holds in a format."""

    name: str
    caption: str
    made: Callable[[str], bytes | None]


def export(runs: Sequence[Path], folder: Path, format: str) -> list[Path]:
    """Write the figures of runs, and their captions, to `folder`.

    Args:
        runs: As `html.render` takes them.
        folder: Is made if it is not there; files of the same names are replaced.
        format: One of FORMATS.

    Returns:
        The files.

    Raises:
        ReportError: The format is none, a run cannot be read, or the folder not be written to.
    """
    if format not in FORMATS:
        raise ReportError(f"--format is one of html, {', '.join(FORMATS)}; got {format!r}")
    read = [read_run(path) for path in find_runs(list(runs))]
    repeated = Counter(run.name for run in read)
    figures = [
        one
        for number, run in enumerate(read, start=1)
        for one in _figures(
            run, format, _slug(run.name) + (f"-{number}" if repeated[run.name] > 1 else "")
        )
    ]
    written, captions = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in figures:
            content = one.made(format)
            if content is not None:
                path = folder / f"{one.name}.{format}"
                path.write_bytes(content)
                written.append(path)
                captions.append(f"{path.name}\n{one.caption}\n")
        texts = folder / "captions.txt"
        texts.write_text("\n".join(captions), encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReportError(f"{folder} cannot be written to ({error.strerror})") from error
    return [*written, texts]


def _figures(run: Run, format: str, name: str) -> Iterator[Figure]:
    arms, where = arms_of(run), f"{run.name}/config.json"
    made = f"Made by: {provenance.command_of(run, provenance.commands(run)[0])}"
    if run.verdict is not None and run.verdict.contest is not None:
        plot = forest(run.verdict.contest)
        told = " ".join((f"{plot.contest.unit}.", plot.confidence, run.verdict.sentence))
        yield Figure(f"{name}-00-forest", f"{told} {made}", lambda of: _forest(plot, of))
    for number, spec in enumerate(run.charts, start=1):
        if spec.get("kind") == IMAGES:
            continue
        chart = read_chart(spec, arms, where=where, settings=run.settings)
        caption = " ".join(filter(None, (f"{chart.title}.", chart.caption, chart.legend, made)))
        draw = _drawer(chart)
        yield Figure(f"{name}-{number:02}-{_slug(chart.title)}", caption, draw)
    if format == "csv":
        told = f"What every job of {run.name} reached. {made}"
        yield Figure(f"{name}-jobs", told, lambda of: _jobs(run))


def _drawer(chart: Chart) -> Callable[[str], bytes | None]:
    def draw(format: str) -> bytes | None:
        if format == "csv":
            return _points(chart)
        from deqlab.report import paper  # matplotlib takes a second to import

        return paper.draw_chart(chart, format)

    return draw


def _forest(plot: Forest, format: str) -> bytes:
    if format == "csv":
        heads = ("rival", "group", "result", "estimate", "low", "high", "confidence")
        rivals = plot.contest.rivals
        return _csv(
            heads,
            ((r.label, r.group, r.result, r.estimate, r.low, r.high, r.confidence) for r in rivals),
        )
    from deqlab.report import paper  # matplotlib takes a second to import

    return paper.draw_forest(plot, format)


def _points(chart: Chart) -> bytes:
    heads = [chart.panel_by or "panel", "arm", "label"]
    for axis in dict.fromkeys((chart.x.field, chart.y.field)):
        heads += [axis, f"{axis}_min", f"{axis}_max"]
    lines = (
        (
            panel.title,
            one.arm.name,
            one.arm.label,
            *(end for of in (point.x, point.y) for end in (of.median, of.low, of.high)),
            point.y.count,
            point.y.nonfinite,
        )
        for panel in chart.panels
        for one in panel.series
        for point in one.points
    )
    return _csv((*heads, "seeds", "not_finite"), lines)


def _jobs(run: Run) -> bytes:
    summaries = [job.summary for job in run.jobs]
    heads = list(dict.fromkeys(key for row in summaries for key in row))
    return _csv(heads, ([row.get(key) for key in heads] for row in summaries))


def _csv(heads: Sequence[str], lines: Any) -> bytes:  # noqa: ANN401, rows of plain values
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(lines)
    return out.getvalue().encode("utf-8", "replace")


def _slug(text: str) -> str:
    """Return a text as a part of a file's name: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST_NAME] or "figure"
