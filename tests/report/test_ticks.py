"""Axes end where their data ends, and have a few round ticks between."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deqlab.report import ticks
from deqlab.report.charts import Axis
from deqlab.report.formats import FORMATS


def axis(scale, form="number"):
    return Axis(field="y", label="y", scale=scale, format=FORMATS[form])


MAGNITUDES = st.floats(1e-30, 1e30)


@given(
    st.lists(MAGNITUDES | MAGNITUDES.map(lambda v: -v), min_size=1),
    st.sampled_from(["number", "percent"]),
)
def test_a_linear_axis_shows_its_values_and_some_ticks(values, form):
    # Closer than that, a float has no room for ticks between.
    span = max(values) - min(values)
    assume(span == 0 or span > 1e-9 * max(map(abs, values)))
    low, high = ticks.limits(values, log=False)
    found = ticks.positions(low, high, axis("linear", form))
    assert low <= min(values) <= max(values) <= high
    assert 2 <= len(found) <= 7
    assert all(low <= v <= high for v in found)


@given(st.lists(MAGNITUDES, min_size=1), st.sampled_from(["number", "bytes"]))
def test_a_logarithmic_axis_shows_its_values_and_some_ticks(values, form):
    low, high = ticks.limits(values, log=True)
    found = ticks.positions(low, high, axis("log", form))
    assert 0 < low <= min(values) <= max(values) <= high
    assert 1 <= len(found) <= 7
    assert all(low <= v <= high for v in found)


@pytest.mark.parametrize(
    ("low", "high", "scale", "form", "labels"),
    [
        (0.0, 620.0, "linear", "number", ["0", "200", "400", "600"]),
        (0.0, 62000.0, "linear", "number", ["0", "20 k", "40 k", "60 k"]),
        (-1.2, 1.2, "linear", "number", ["−1", "−0.5", "0", "0.5", "1"]),  # noqa: RUF001
        (0.917, 0.964, "linear", "percent", ["92 %", "93 %", "94 %", "95 %", "96 %"]),
        (0.0, 2.2e8, "linear", "bytes", ["0 B", "50 MiB", "100 MiB", "150 MiB", "200 MiB"]),
        (0.9, 1200.0, "log", "number", ["1", "10", "100", "1000"]),
        (9e-4, 1.1, "log", "number", ["0.001", "0.01", "0.1", "1"]),
        (9e-5, 1.1, "log", "number", ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"]),
        (0.25, 3.0, "log", "number", ["0.5", "1", "2"]),
        (2.9e6, 2.5e8, "log", "number", ["3 M", "10 M", "30 M", "100 M"]),
        (7e6, 7e7, "log", "bytes", ["8 MiB", "16 MiB", "32 MiB", "64 MiB"]),
    ],
)
def test_ticks_are_round_and_written_alike(low, high, scale, form, labels):
    found = ticks.positions(low, high, axis(scale, form))
    write = ticks.writer(found, FORMATS[form])
    assert [write(v).replace("\N{NO-BREAK SPACE}", " ") for v in found] == labels


def test_one_value_gets_an_axis_around_it():
    for log in (False, True):
        low, high = ticks.limits([5.0], log=log)
        assert low < 5.0 < high
        assert math.isfinite(high)
    assert ticks.limits([0.0], log=False) == (-1.0, 1.0)
