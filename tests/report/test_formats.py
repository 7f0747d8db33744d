"""Numbers are written as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deqlab.report.formats import FORMATS, bytes_, integer, interval, number, percent, seconds, si
from deqlab.report.statistics import spread

CASES = [
    (number, 0.0, "0"),
    (number, 0.12345, "0.123"),
    (number, -0.12345, "−0.123"),  # noqa: RUF001
    (number, 12.0, "12"),
    (number, 1234.0, "1,234"),
    (number, 0.00012345, "1.23×10⁻⁴"),  # noqa: RUF001
    (number, 1.5e300, "1.50×10³⁰⁰"),  # noqa: RUF001
    (percent, 0.93149, "93.1 %"),
    (integer, 12345.0, "12,345"),
    (integer, 2.5, "2.5"),
    (si, 999.0, "999"),
    (si, 999_999.0, "1.00 M"),
    (si, 1_234_567.0, "1.23 M"),
    (si, 3.1e15, "3.10 P"),
    (bytes_, 512.0, "512 B"),
    (bytes_, 1536.0, "1.50 KiB"),
    (bytes_, 1024.0**2 * 100, "100 MiB"),
    (seconds, 0.0, "0 µs"),
    (seconds, 0.0123, "12.3 ms"),
    (seconds, 61.25, "61.2 s"),
    (seconds, 192.0, "3.20 min"),
    (seconds, 9000.0, "2.50 h"),
]


@pytest.mark.parametrize(("form", "value", "text"), CASES)
def test_a_number_is_written_as_expected(form, value, text):
    assert form(value).replace("\N{NO-BREAK SPACE}", " ") == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(sorted(FORMATS)))
def test_every_finite_number_can_be_written(value, name):
    assert FORMATS[name](value)


@given(st.floats(1e-300, 1e300))
def test_number_keeps_three_digits(value):
    superscripts = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    mantissa, _, exponent = number(value).replace(",", "").partition("×10")  # noqa: RUF001
    read = float(f"{mantissa}e{exponent.translate(superscripts) or 0}")
    assert read == pytest.approx(value, rel=0.5e-2)  # half a unit of the third digit


def test_an_interval_names_its_unit_once():
    assert interval(spread([0.1, 0.2]), percent) == "10.0–20.0\N{NO-BREAK SPACE}%"  # noqa: RUF001
    assert interval(spread([-1.0, 2.0]), number) == "−1 to 2"  # noqa: RUF001
    assert interval(spread([1.0, 1.0]), number) == ""
