"""The numbers of the page are the medians and ranges of the rows on disk."""

import math
import re

import numpy as np
import pytest

from deqlab.report import ReportError, render
from deqlab.report.arms import arms_of
from deqlab.report.chart_reader import read_chart
from deqlab.report.rows import read_run
from deqlab.report.statistics import spread


def table_of(page, title):
    headers = [t for t in page.tables if any(title in cell for row in t for cell in row)]
    assert len(headers) >= 1, f"no table has a cell {title!r}"
    return headers[0]


def chart_of(path, spec):
    return read_chart(spec, arms_of(read_run(path)), where="config.json")


def test_curves_are_medians_with_their_range(write_run, example):
    chart = chart_of(write_run(), example.line)
    for series in chart.panels[0].series:
        losses = np.array(example.losses[series.arm.name])
        for point in series.points:
            expected = losses / (1 + point.x.median)
            assert point.y.median == pytest.approx(np.median(expected), rel=1e-15)
            assert (point.y.low, point.y.high) == (expected.min(), expected.max())


def test_the_data_table_shows_the_curve(html, parse):
    table = table_of(parse(html), "step")
    assert table[0] == ["step", "The deq", "The fnn"]
    assert table[1] == ["0", "0.9000|0.5000–4", "0.7500|0.7000–3"]  # noqa: RUF001
    assert table[2] == ["1", "0.4500|0.2500–2", "0.3750|0.3500–1.500"]  # noqa: RUF001


def test_the_cost_table_shows_medians_and_marks_the_best(html, parse):
    nbsp = "\N{NO-BREAK SPACE}"
    page = parse(html)
    table = next(t for t in page.tables if "FLOPs" in t[0])
    assert table[1] == [
        "The deq",
        f"★|best:|90.0{nbsp}%|10.0–95.0{nbsp}%",  # noqa: RUF001
        f"★|best:|4{nbsp}M|2–6{nbsp}M",  # noqa: RUF001
        "a note",
    ]
    assert table[2][1] == f"80.0{nbsp}%|20.0–82.0{nbsp}%"  # noqa: RUF001


def test_an_arm_with_nothing_to_say_in_a_table_is_not_in_it(write_run, example, parse):
    rows = example.rows()
    for row in rows:
        if row["kind"] == "summary" and row["arm"] == "fnn":
            del row["accuracy"]
    table = {
        "title": "Only one",
        "rows": "summary",
        "by": "arm",
        "columns": [{"field": "accuracy", "label": "share", "format": "percent"}],
    }
    path = write_run(rows=rows, config=example.config([], [table]))
    shown = next(t for t in parse(render([path])).tables if "share" in t[0])
    assert [line[0] for line in shown[1:]] == ["The deq"]


def test_an_arm_that_lost_a_seed_is_not_the_best(write_run, example, parse):
    rows = example.rows()
    for row in rows:
        if row["kind"] == "summary" and row["arm"] == "deq" and row["seed"] == 2:
            row["accuracy"] = None
    page = parse(render([write_run(rows=rows)]))
    table = next(t for t in page.tables if "FLOPs" in t[0])
    assert "best" not in table[1][1]
    assert "1 of 3 seeds not finite" in table[1][1]
    assert "best" in table[2][1]


def test_a_table_by_a_field_has_a_row_for_each_value(write_run, example, parse):
    spec = {
        "title": "Losses",
        "rows": "step",
        "by": "step",
        "columns": [{"field": "test_loss", "format": "number"}],
    }
    path = write_run(config=example.config(charts=[], tables=[spec]))
    table = parse(render([path])).tables[0]
    assert table[0] == ["arm", "step", "test_loss"]
    assert [row[:2] for row in table[1:4]] == [["The deq", "0"], ["The deq", "1"], ["The deq", "2"]]
    assert table[2][2] == "0.450|0.250–2"  # noqa: RUF001


def test_rows_with_the_field_of_the_panels_are_shown_in_theirs(write_run, example):
    rows = [row | {"data": "ab"[row.get("step", 0) % 2]} for row in example.rows()]
    chart = chart_of(write_run(rows=rows), {**example.line, "panel_by": "data"})
    steps = {
        panel.title: [[point.x.median for point in series.points] for series in panel.series]
        for panel in chart.panels
    }
    assert steps == {"a": [[0, 2], [0, 2]], "b": [[1], [1]]}


def test_each_panel_has_its_arms_and_the_reference(write_run, example):
    rows = example.rows() + example.wide_rows()
    chart = chart_of(write_run(rows=rows), {**example.line, "panel_by": "matching"})
    arms = {panel.title: [s.arm.name for s in panel.series] for panel in chart.panels}
    assert arms == {"parameters": ["deq", "fnn"], "FLOPs": ["deq", "wide"]}


def test_the_reference_comes_first_whatever_the_order_of_jobs(write_run, example):
    rows = example.rows()
    arms = arms_of(read_run(write_run(rows=rows[12:] + rows[:12])))
    assert [(arm.name, arm.slot, arm.reference) for arm in arms] == [
        ("deq", 0, True),
        ("fnn", 1, False),
    ]


def test_a_repeated_job_replaces_its_rows(write_run, example):
    # A crash left rows of (deq, 0) behind; the resumed run wrote all of them again.
    stale = {"arm": "deq", "seed": 0, "kind": "step", "step": 0, "test_loss": 99.0}
    chart = chart_of(write_run(rows=[stale, *example.rows()]), example.line)
    first = chart.panels[0].series[0].points[0]
    assert (first.y.count, first.y.high) == (3, 4.0)


def test_nonfinite_values_are_counted_and_leave_a_gap(write_run, example, parse):
    rows = example.rows()
    lost = [row for row in rows if row.get("step") == 1 and row["arm"] == "deq"]
    for row in lost:
        row["test_loss"] = None
    path = write_run(rows=rows)
    chart = chart_of(path, example.line)
    assert math.isnan(chart.panels[0].series[0].points[1].y.median)
    page = parse(render([path]))
    assert "3 non-finite values are not drawn." in page.text
    assert table_of(page, "step")[2][1] == "not finite"


def test_rows_without_a_place_on_the_x_axis_are_counted(write_run, example):
    rows = example.rows()
    rows[0]["step"] = None
    (panel,) = chart_of(write_run(rows=rows), example.line).panels
    assert panel.notes == ("1 non-finite value is not drawn.",)
    assert panel.series[0].points[0].y.count == 2


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_log_axis_says_what_it_cannot_show(write_run, example, parse, value):
    rows = example.rows()
    for row in rows:
        if row.get("step") == 2 and row["arm"] == "deq":
            row["test_loss"] = value
    text = parse(render([write_run(rows=rows)])).text
    assert "1 median is zero or negative, which a logarithmic axis cannot show" in text


def test_a_range_that_crosses_zero_is_cut_on_a_log_axis(write_run, example, parse):
    rows = example.rows()
    rows[0]["test_loss"] = -1.0
    page = parse(render([write_run(rows=rows)]))
    assert "its range is cut at the edge of the chart" in page.text
    assert "not drawn" not in page.text
    paths = " ".join(page.attributes("d"))
    # The pictures are 440 by 300; a band drawn down to log(-1) would be far outside.
    assert max(abs(float(v)) for v in re.findall(r"-?\d+(?:\.\d+)?", paths)) < 450


@pytest.mark.parametrize("value", [3e38, 1e-30, 0.0, -5.0])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_extreme_values_do_not_break_a_chart(write_run, example, parse, value, scale):
    rows = example.rows()
    for row in rows:
        if row["kind"] == "step":
            row["test_loss"] = value
    specs = [{**example.line, "y_scale": scale}, {**example.line, "kind": "scatter"}]
    parse(render([write_run(rows=rows, config=example.config(charts=specs))]))


def test_a_chart_without_values_says_so(write_run, example, parse):
    spec = {**example.line, "y": "residual"}
    page = parse(render([write_run(config=example.config(charts=[spec]))]))
    assert "Nothing to draw" in page.text
    assert "No finished job has rows with “step” and “residual”" in page.text
    assert not [found for _, found in page.elements if found.get("role") == "img"]


def test_text_where_a_number_belongs_is_an_error(write_run, example):
    rows = example.rows()
    rows[0]["test_loss"] = "0.5"
    with pytest.raises(ReportError, match=r"Learning curve.*'test_loss'.*'0\.5'"):
        render([write_run(rows=rows)])


def test_spread_of_nothing_is_nan():
    of = spread([math.nan, math.inf])
    assert (of.count, of.nonfinite) == (0, 2)
    assert math.isnan(of.median)
