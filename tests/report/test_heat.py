"""A heat map has a cell for every arm, seed and x, and its shade is the value."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deqlab.report import render
from deqlab.report.arms import arms_of
from deqlab.report.chart_reader import read_chart
from deqlab.report.heat import columns, ends, shade
from deqlab.report.rows import read_run

POSITIVE = st.floats(1e-300, 1e300)


@pytest.fixture
def spec(example):
    return {**example.line, "kind": "heatmap", "y_scale": "linear"}


def picture(html):
    (svg,) = re.findall(r'<svg viewBox[^>]*role="img".*?</svg>', html, flags=re.DOTALL)
    return svg


def strengths(html):
    """How strong each cell is, by the CSS variable of its colour, in order."""
    found: dict[str, list[float]] = {}
    for style in re.findall(r'style="([^"]*)"', picture(html)):
        colour = re.search(r"fill: var\(--(c\d)\)", style)
        if colour:
            strength = re.search(r"fill-opacity: ([\d.]+)", style)
            found.setdefault(colour[1], []).append(float(strength[1]) if strength else 1.0)
    return found


def test_every_value_has_its_cell_and_its_shade(write_run, example, spec):
    html = render([write_run(config=example.config([spec], []))])
    found, largest = strengths(html), 4.0
    for colour, arm in (("c0", "deq"), ("c1", "fnn")):
        # By x, then by seed; the loss of seed s at step t is LOSSES[s] / (1 + t).
        losses = example.losses[arm]
        expected = [loss / (1 + step) / largest for step in (0, 1, 2) for loss in losses]
        assert found[colour] == pytest.approx(expected, abs=1e-5)
    assert "from 0 (blank) to 4" in html


def test_names_ticks_legend_and_data_are_on_the_page(write_run, example, spec, parse):
    page = parse(render([write_run(config=example.config([spec], []))]))
    texts = [text for tag, text in page.texts if tag == "text"]
    assert {"The deq", "The fnn", "0", "1", "2"} <= set(texts)
    assert "3 seeds, a row for each: the stronger the colour, the larger the value." in page.text
    assert page.tables[0][1] == ["0", "0.9000|0.5000–4", "0.7500|0.7000–3"]  # noqa: RUF001
    (description,) = [t for tag, t in page.texts if tag == "desc"]
    assert description.startswith("A heat map of test loss against step.")


def test_a_value_that_is_lost_leaves_its_cell_out(write_run, example, spec, parse):
    rows = example.rows()
    rows[0]["test_loss"] = None
    html = render([write_run(rows=rows, config=example.config([spec], []))])
    found = strengths(html)
    assert (len(found["c0"]), len(found["c1"])) == (8, 9)
    assert "1 non-finite value is not drawn." in parse(html).text


def test_a_column_that_is_lost_is_no_column(write_run, example, spec):
    rows = example.rows()
    for row in rows:
        if row.get("step") == 1:
            row["test_loss"] = None
    html = render([write_run(rows=rows, config=example.config([spec], []))])
    assert [len(of) for of in strengths(html).values()] == [6, 6]


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("value", [3e38, 1e-30, 0.0, -5.0])
def test_extreme_values_do_not_break_it(write_run, example, spec, parse, value, scale):
    rows = example.rows()
    rows[0]["test_loss"] = value
    chart = {**spec, "y_scale": scale}
    parse(render([write_run(rows=rows, config=example.config(charts=[chart]))]))


def test_blank_is_zero_unless_values_are_below_it_or_the_scale_is_logarithmic(
    write_run, example, spec
):
    def limits(**changes):
        run = read_run(write_run(f"run{len(changes)}{changes.get('y_scale')}", rows=rows))
        chart = read_chart({**spec, **changes}, arms_of(run), where="config.json")
        points = [p for one in chart.panels[0].series for p in one.points]
        assert columns(points) == [0, 1, 2]
        return ends(points, chart.y)

    rows = example.rows()
    assert limits() == (0.0, 4.0)
    assert limits(y_scale="log") == (0.5 / 3, 4.0)
    rows[0]["test_loss"] = -2.0
    assert limits(x_label="x") == (-2.0, 4.0)


@given(POSITIVE, POSITIVE, POSITIVE, st.booleans())
def test_shades_lie_between_their_ends_and_grow(a, b, c, log):
    low, middle, high = sorted((a, b, c))
    assert 0 <= shade(middle, (low, high), log=log) <= 1
    assert shade(high, (low, high), log=log) == 1
    if high > low * (1 + 1e-9):
        assert shade(low, (low, high), log=log) == 0
        assert shade(middle, (low, high), log=log) <= shade(high, (low, high), log=log)
