"""Figures for a paper: files that stand alone, with captions, and the numbers behind them."""

import csv
from xml.etree import ElementTree

import pytest

from deqlab.report import ReportError
from deqlab.report.export import export

CONTEST = {
    "unit": "times the loss",
    "neutral": 1.0,
    "advice": "Take the DEQ.",
    "seeds": "None.",
    "rivals": [
        {
            "label": "<script>",
            "group": "equal parameters",
            "result": result,
            "estimate": estimate,
            "low": 0.5,
            "high": 4.0,
            "confidence": 0.75,
        }
        for result, estimate in (("win", 2.0), ("tie", None), ("loss", 0.9), ("neither", 1.0))
    ],
}
VERDICT = {"outcome": "holds", "sentence": "It wins.", "details": [], "contest": CONTEST}


@pytest.fixture(scope="module")
def run(two_runs):
    return two_runs / "b"  # with a chart of two panels


def test_svg_files_need_nothing_else_and_come_out_the_same(run, tmp_path):
    files = export([run], tmp_path / "a", "svg")
    assert [f.name for f in files] == [
        "b-01-learning-curve.svg",
        "b-02-accuracy-against-cost.svg",
        "captions.txt",
    ]
    for file in files[:-1]:
        root = ElementTree.parse(file).getroot()
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"text", "image", "script"}  # letters are outlines
        assert "var(--" not in file.read_text()
    again = export([run], tmp_path / "b", "svg")
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]


def test_pdf_files_are_such(run, tmp_path):
    *figures, captions = export([run], tmp_path, "pdf")
    assert all(file.read_bytes().startswith(b"%PDF-") for file in figures)
    assert "Line: median of" in captions.read_text()


def test_csv_files_have_the_numbers_of_each_chart_and_job(run, tmp_path, example):
    curve, _, jobs, _ = export([run], tmp_path, "csv")
    with curve.open() as file:
        rows = list(csv.DictReader(file))
    first = next(row for row in rows if row["arm"] == "deq" and row["step"] == "0.0")
    values = (first["test_loss"], first["test_loss_min"], first["test_loss_max"], first["seeds"])
    low, middle, high = sorted(example.losses["deq"])
    assert tuple(map(float, values)) == (middle, low, high, 3)
    assert {row["matching"] for row in rows} == {"parameters", "FLOPs"}
    with jobs.open() as file:
        assert len(list(csv.DictReader(file))) == 7


def test_a_forest_plot_is_a_figure_and_a_table(write_run, tmp_path):
    run = write_run(verdict=VERDICT)
    for format in ("svg", "pdf", "csv"):
        forest, *_, captions = export([run], tmp_path / format, format)
        assert forest.name == f"run-00-forest.{format}"
        assert forest.stat().st_size > 200
        assert "It wins." in captions.read_text()
    ElementTree.parse(tmp_path / "svg" / "run-00-forest.svg")
    with forest.open() as file:
        assert [row["result"] for row in csv.DictReader(file)] == ["win", "tie", "loss", "neither"]


def test_runs_of_one_name_do_not_overwrite_each_other(write_run, tmp_path):
    paths = [write_run(f"{where}/same") for where in ("x", "y")]
    files = export(paths, tmp_path / "out", "csv")
    assert len(files) == len(set(files)) == 7


def test_names_cannot_leave_the_folder(write_run, example, tmp_path):
    config = example.config([{**example.line, "title": "../../etc/passwd <script>"}], [])
    (figure, *_) = export([write_run(config=config)], tmp_path / "out", "csv")
    assert figure == tmp_path / "out" / "run-01-etc-passwd-script.csv"


def test_an_unknown_format_is_one_sentence(run, tmp_path):
    with pytest.raises(ReportError, match="--format is one of html, svg, pdf, csv; got 'png'"):
        export([run], tmp_path, "png")
