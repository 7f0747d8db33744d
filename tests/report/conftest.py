"""Run directories written by hand, as the contract describes them (format 1)."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use", "line", "rect", "circle"}

LINE = {
    "kind": "line",
    "title": "Learning curve",
    "rows": "step",
    "x": "step",
    "y": "test_loss",
    "y_scale": "log",
}
SCATTER = {
    "kind": "scatter",
    "title": "Accuracy against cost",
    "rows": "summary",
    "x": "flops",
    "y": "accuracy",
    "y_format": "percent",
}
TABLE = {
    "title": "Cost",
    "rows": "summary",
    "by": "arm",
    "columns": [
        {"field": "accuracy", "label": "accuracy", "format": "percent", "better": "higher"},
        {"field": "flops", "label": "FLOPs", "format": "si", "better": "lower"},
        {"field": "note", "label": "note", "format": "text"},
    ],
}
# Odd on purpose: the median of each triple is far from its mean.
LOSSES = {"deq": (0.5, 0.9, 4.0), "fnn": (0.7, 0.75, 3.0)}
ACCURACIES = {"deq": (0.9, 0.95, 0.1), "fnn": (0.8, 0.82, 0.2)}


def rows() -> list[dict[str, Any]]:
    """Two arms, three seeds, three steps each, and their summaries."""
    result: list[dict[str, Any]] = []
    for arm, matching in (("deq", None), ("fnn", "parameters")):
        for seed in range(3):
            base = {"arm": arm, "seed": seed}
            result += [
                {**base, "kind": "step", "step": step, "test_loss": LOSSES[arm][seed] / (1 + step)}
                for step in (0, 1, 2)
            ]
            summary = {"label": f"The {arm}", "matching": matching, "note": "a note"}
            cost = {"accuracy": ACCURACIES[arm][seed], "flops": 2_000_000 * (1 + seed)}
            result.append({**base, "kind": "summary", **summary, **cost})
    return result


def wide_rows() -> list[dict[str, Any]]:
    """A third arm, matched to the reference in another way: it makes a second panel."""
    base = {"arm": "wide", "seed": 0}
    return [
        {**base, "kind": "step", "step": 0, "test_loss": 1.0},
        {**base, "kind": "summary", "label": "Wide", "matching": "FLOPs"},
    ]


def config(charts: list[Any] | None = None, tables: list[Any] | None = None) -> dict[str, Any]:
    return {
        "format": 1,
        "experiment": "images",
        "title": "A title",
        "claim": "A claim.",
        "source": "A source",
        "preset": "quick",
        "config": {"width": 64},
        "report": {
            "charts": [LINE, SCATTER] if charts is None else charts,
            "tables": [TABLE] if tables is None else tables,
        },
    }


VERDICT = {"outcome": "holds", "sentence": "The DEQ wins.", "details": ["By a lot."]}
SESSION = {"command": "deqlab run images", "python": "3.11.7", "torch": "2.13.0+cpu"}


@pytest.fixture
def write_run(tmp_path) -> Callable[..., Path]:
    """Write a run directory; None leaves a file out, and text is written as it is."""
    return _writer(tmp_path)


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> str:
    """The page of the example, rendered once."""
    from deqlab.report import render

    return render([_writer(tmp_path_factory.mktemp("example"))()])


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory) -> Path:
    """A directory with two runs; the second has a chart of two panels."""
    path = tmp_path_factory.mktemp("two")
    write = _writer(path)
    write("a")
    panels = config([{**LINE, "panel_by": "matching"}, SCATTER])
    write("b", rows=rows() + wide_rows(), config=panels)
    return path


def _writer(tmp_path: Path) -> Callable[..., Path]:
    def write(name="run", *, rows=rows(), verdict=VERDICT, config=config(), session=SESSION):  # noqa: B008
        path = tmp_path / name
        path.mkdir(parents=True)
        if rows is not None:
            text = rows if isinstance(rows, str) else "".join(json.dumps(r) + "\n" for r in rows)
            (path / "rows.jsonl").write_text(text)
        environment = None if session is None else {"sessions": [session]}
        files = {"config": config, "verdict": verdict, "environment": environment}
        for file, content in files.items():
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (path / f"{file}.json").write_text(text)
        return path

    return write


class Page(HTMLParser):
    """A parsed page: its elements, its text, and whether every tag was closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # (innermost tag, text)
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    @property
    def text(self) -> str:
        return "\n".join(text for tag, text in self.texts if tag != "style")

    def attributes(self, name: str) -> list[str]:
        return [v for _, found in self.elements for k, v in found.items() if k == name and v]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and data.strip():
            self.texts.append((self._open[-1], data.strip()))
            if "td" in self._open or "th" in self._open:
                joint = "|" if self.tables[-1][-1][-1] else ""
                self.tables[-1][-1][-1] += joint + data.strip()


@pytest.fixture
def parse() -> Callable[[str], Page]:
    return Page


@pytest.fixture
def example():
    """The parts of the example, to change and put together again."""
    from types import SimpleNamespace

    return SimpleNamespace(
        rows=rows,
        wide_rows=wide_rows,
        config=config,
        line=LINE,
        scatter=SCATTER,
        table=TABLE,
        losses=LOSSES,
    )
