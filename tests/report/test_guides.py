"""An axis that one early spike does not flatten, and a tolerance across the chart."""

import pytest

from deqlab.report import render
from deqlab.report.charts import Axis, Point
from deqlab.report.formats import number
from deqlab.report.guides import ceiling
from deqlab.report.statistics import spread


def axis(scale):
    return Axis(field="y", label="y", scale=scale, format=number)


def points(values):
    return [Point(x=spread([float(x)]), y=spread([y])) for x, y in enumerate(values)]


SPIKE = [1.0, 4e7, 0.9, *(0.8 - 0.03 * i for i in range(20))]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_an_early_spike_is_above_the_axis_and_the_rest_below(scale):
    top = ceiling(points(SPIKE), axis(scale))
    later = SPIKE[len(SPIKE) // 4 :]
    assert max(later) < top < 2


@pytest.mark.parametrize(
    "values",
    [
        [10.0**-k for k in range(12)],  # a straight line on a logarithmic axis
        [10.0 ** (k / 4) for k in range(12)],
        [*SPIKE[2:], 4e7],  # late: the news
        [0.5] * 12,
        [8.0, 1.0, *(0.9 - 0.001 * i for i in range(10))],  # early, and no spike
        [1e7, 1.0],  # too few to say what is early
    ],
)
def test_what_is_no_early_spike_is_not_cut(values):
    assert ceiling(points(values), axis("log")) is None
    assert ceiling(points([-v for v in values]), axis("linear")) is None


def test_a_spike_that_only_one_seed_has_counts():
    found = points([1.0 - 0.02 * i for i in range(20)])
    found[1] = Point(x=found[1].x, y=spread([1.0, 1.0, 1e6]))
    assert ceiling(found, axis("log")) < 2


def rows_of(values):
    base = {"arm": "deq", "seed": 0}
    steps = [{**base, "kind": "step", "step": i, "test_loss": y} for i, y in enumerate(values)]
    return [*steps, {**base, "kind": "summary", "label": "DEQ", "matching": None}]


def test_a_chart_says_what_it_cuts_off(write_run, example, parse):
    config = example.config([example.line], [])
    page = parse(render([write_run(rows=rows_of(SPIKE), config=config)]))
    assert ("text", "↑ early values up to 4.00×10⁷ are cut off") in page.texts  # noqa: RUF001


def test_a_tolerance_is_the_least_of_what_is_named(write_run, example, parse):
    line = {**example.line, "level": ["rtol", "test_rtol", "absent", 1e-2]}
    config = example.config([line], []) | {"config": {"rtol": 1e-3, "test_rtol": 1e-4}}
    page = parse(render([write_run(rows=rows_of([1.0, 0.1, 0.01]), config=config)]))
    assert ("text", "tolerance 10⁻⁴") in page.texts


def test_networks_without_a_solve_have_dashes_and_those_that_diverged_none(
    write_run, example, parse
):
    fields = ("converged", "residual", "test_loss")
    columns = [{"field": name, "label": name, "format": "number"} for name in fields]
    table = {"title": "T", "rows": "summary", "by": "arm", "columns": columns}
    base = {"kind": "summary", "seed": 0, "matching": None, "test_loss": None, "residual": None}
    rows = [
        {**base, "arm": "fnn", "label": "fnn", "converged": None},
        {**base, "arm": "deq", "label": "deq", "converged": 0.0},
    ]
    page = parse(render([write_run(rows=rows, config=example.config([], [table]))]))
    assert page.tables[0][1:] == [
        ["fnn", "–", "–", "not finite"],  # noqa: RUF001
        ["deq", "0", "not finite", "not finite"],
    ]
