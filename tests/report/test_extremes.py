"""Numbers at the ends of what a float holds: no crash, no warning, and each in its right place."""

import math
import re
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deqlab.report import render
from deqlab.report.charts import Axis
from deqlab.report.formats import FORMATS, integer, percent, si
from deqlab.report.statistics import spread
from deqlab.report.ticks import limits, place, positions, writer

LARGEST, SMALLEST = sys.float_info.max, 5e-324
EXTREMES = [LARGEST, 1e308, 1.0, 2.3e-308, SMALLEST]
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [*EXTREMES, *(-value for value in EXTREMES)]
)


def run_of(write_run, example, values, **changes):
    """A run of one arm and one seed, whose losses are `values`."""
    base = {"arm": "deq", "seed": 0}
    rows = [
        {**base, "kind": "step", "step": step, "test_loss": value}
        for step, value in enumerate(values)
    ]
    spec = {**example.line, **changes}
    config = example.config(charts=[spec], tables=[])
    return render([write_run(rows=[*rows, {**base, "kind": "summary"}], config=config)])


def markers(html):
    """Where the points of the only line are drawn: (x, y), y from the top."""
    (svg,) = re.findall(r'<svg viewBox[^>]*role="img".*?</svg>', html, flags=re.DOTALL)
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return [
        (float(u.get("x")), float(u.get("y")))
        for u in root.iter("use")
        if "stroke" in (u.get("style") or "") and "--c0" in u.get("style")
    ]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e-308, 1.0, 1e308], "log"),
        ([1e-320, 1.0, 1e300], "log"),
        ([1e308, 1.3e308, 1.7e308], "log"),
        ([SMALLEST, 1e-323], "log"),
        ([-1e308, 0.0, 1e308], "linear"),
        ([-LARGEST, 0.0, LARGEST / 2, LARGEST], "linear"),
        ([1e308, 1.2e308, 1.6e308], "linear"),
        ([-1.0, SMALLEST, 1.0], "linear"),
        ([1e-320, 3e-320, 9e-320], "linear"),
    ],
)
def test_each_value_is_drawn_in_its_place(write_run, example, values, scale):
    found = markers(run_of(write_run, example, values, y_scale=scale))
    assert len(found) == len(values)
    if scale == "log":
        wanted = [math.log(value) for value in values]
    else:
        largest = max(map(abs, values))
        wanted = [value / largest for value in values]
    # Straight: the same distance on the page for the same distance of numbers.
    heights = [y for _, y in found]
    shares = [(y - heights[0]) / (heights[-1] - heights[0]) for y in heights]
    expected = [(value - wanted[0]) / (wanted[-1] - wanted[0]) for value in wanted]
    assert shares == pytest.approx(expected, abs=1e-4)
    assert heights[0] > heights[-1]


def test_what_a_logarithmic_axis_cannot_show_leaves_a_gap_and_is_counted(write_run, example, parse):
    html = run_of(write_run, example, [1e308, 0.0, -1e308, 5e-324, None, 1.0])
    assert len(markers(html)) == 3
    text = parse(html).text
    assert "2 medians are zero or negative" in text
    assert "1 non-finite value is not drawn" in text


@pytest.mark.parametrize("kind", ["line", "scatter", "heatmap"])
@pytest.mark.parametrize("scales", [("log", "log"), ("linear", "linear"), ("log", "linear")])
def test_extremes_over_seeds_and_on_both_axes_break_nothing(
    write_run, example, parse, kind, scales
):
    values = [1e308, LARGEST, -1e308, SMALLEST, 0.0, -3.0, None, 1e-300]
    rows = []
    for arm in ("deq", "fnn"):
        for seed, value in enumerate(values):
            base = {"arm": arm, "seed": seed}
            numbers = {"a": value, "b": values[-1 - seed]}
            rows += [{**base, "kind": "step", **numbers}, {**base, "kind": "summary", **numbers}]
    names = {"x": "a", "y": "b", "x_scale": scales[0], "y_scale": scales[1]}
    spec = {**example.line, **names, "kind": kind}
    columns = [{"field": "a", "format": form, "better": "higher"} for form in FORMATS]
    table = {**example.table, "columns": columns}
    path = write_run(rows=rows, config=example.config(charts=[spec], tables=[table]))
    page = parse(render([path]))
    assert "inf" not in page.text.replace("information", "")
    assert "nan" not in page.text.lower()


@given(
    st.lists(FLOATS, min_size=1)
    | st.lists(st.sampled_from([SMALLEST, 1e-323, 1.5e-323]), min_size=1),
    st.booleans(),
    st.sampled_from(sorted(FORMATS)),
)
def test_every_axis_has_its_values_inside_and_a_tick_that_can_be_written(values, log, form):
    values = [abs(value) or 1.0 for value in values] if log else values
    low, high = limits(values, log=log)
    assert -math.inf < low <= min(values) <= max(values) <= high < math.inf
    assert low < high
    scale = "log" if log else "linear"
    axis = Axis(field="y", label="y", scale=scale, format=FORMATS[form])
    at = positions(low, high, axis)
    assert len(at) <= 7
    write = writer(at, axis.format)
    for value in at:
        assert low <= value <= high
        assert "inf" not in write(value)
    places = [place(value, (low, high), log=log) for value in sorted(values)]
    assert all(0 <= share <= 1 for share in places)
    assert places == sorted(places)


def test_a_logarithmic_axis_has_room_beyond_its_values_as_far_as_floats_go():
    low, high = limits([1e-320, 1e308], log=True)
    assert 0 < low < 1e-320
    assert high > 1e308


@given(st.lists(FLOATS, min_size=1, max_size=4))
def test_a_median_lies_between_the_values_in_the_middle(values):
    found = spread(values)
    middle = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
    assert middle[0] <= found.median <= middle[-1]


def test_a_median_of_two_is_their_mean_where_their_sum_overflows():
    assert spread([1e308, 1.5e308]).median == 1.25e308
    assert spread([-LARGEST, -LARGEST]).median == -LARGEST
    assert spread([SMALLEST, SMALLEST]).median == SMALLEST


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (percent, 1e308, "1.00×10³¹⁰ %"),  # noqa: RUF001
        (percent, -2.5e6, "−2.50×10⁸ %"),  # noqa: RUF001
        (percent, 999_999.0, "99999900.0 %"),
        (si, 1e308, "1.00×10³⁰⁸"),  # noqa: RUF001
        (integer, 1e308, "1.00×10³⁰⁸"),  # noqa: RUF001
        (integer, 1e15, "1,000,000,000,000,000"),
        (FORMATS["bytes"], 1e308, "1.00×10³⁰⁸ B"),  # noqa: RUF001
    ],
)
def test_what_is_beyond_a_unit_is_written_as_a_power_of_ten(form, value, text):
    assert form(value).replace("\N{NO-BREAK SPACE}", " ") == text
