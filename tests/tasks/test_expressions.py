"""Expressions against Python's own arithmetic on the same text, and every way to be refused."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.tasks.expressions import ExpressionError, parse_condition, parse_number

N = 3
POINTS = list(itertools.product((-1.0, 1.0), repeat=N))
CUBE = torch.tensor(POINTS, dtype=torch.float64)


def python(text):
    """Evaluate trusted text of the tests with Python itself."""
    names = {
        "min": min,
        "max": max,
        "abs": abs,
        "sign": lambda v: (v > 0) - (v < 0),
        "majority": lambda *v: math.copysign(1, sum(v)) if sum(v) else 0,
    }
    code = compile(text.strip(), "test", "eval")
    return [eval(code, names | {f"x{i}": v for i, v in enumerate(p)}) for p in POINTS]


def numbers(children):
    pair = st.tuples(children, children)
    return st.one_of(
        pair.map(lambda p: f"({p[0]} + {p[1]})"),
        pair.map(lambda p: f"{p[0]} - {p[1]}"),
        pair.map(lambda p: f"({p[0]}) * {p[1]}"),
        pair.map(lambda p: f"max({p[0]}, {p[1]}, 0.5)"),
        pair.map(lambda p: f"min({p[0]}, {p[1]})"),
        children.map(lambda c: f"-({c})"),
        children.map(lambda c: f"({c})**2"),
        children.map(lambda c: f"abs({c}) / 4"),
        children.map(lambda c: f"sign({c})"),
        st.tuples(children, children, children).map(lambda t: f"majority({', '.join(t)})"),
    )


LEAVES = st.sampled_from(["x0", "x1", "x2", "1.25", "3"])
NUMBERS = st.recursive(LEAVES, numbers, max_leaves=8)
COMPARED = st.tuples(NUMBERS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), NUMBERS)
CONDITIONS = st.recursive(
    COMPARED.map(" ".join) | NUMBERS.map(lambda n: f"-2 < {n} <= 1"),
    lambda children: st.one_of(
        st.tuples(children, children).map(lambda p: f"({p[0]} and {p[1]})"),
        st.tuples(children, children).map(lambda p: f"({p[0]}) or {p[1]}"),
        children.map(lambda c: f"not ({c})"),
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(NUMBERS)
def test_a_number_is_what_python_makes_of_it(text):
    found = parse_number(text, num_bits=N)(CUBE)
    expected = torch.tensor(python(text), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(CONDITIONS)
def test_a_condition_is_what_python_makes_of_it(text):
    assert parse_condition(text, num_bits=N)(CUBE).tolist() == [bool(v) for v in python(text)]


def test_a_result_has_one_value_per_row_even_without_bits():
    assert parse_number("2", num_bits=N)(CUBE).tolist() == [2.0] * 8
    assert parse_condition("1 < 2", num_bits=N)(CUBE).tolist() == [True] * 8
    with pytest.raises(ValueError, match="in 3 bits, got rows of 2"):
        parse_number("x0", num_bits=N)(CUBE[:, :2])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x0 +", "'x0 \\+' does not parse: invalid syntax"),
        ("", "'' does not parse"),
        ("x0; x1", "does not parse"),
        ("x0 = 1", "does not parse"),
        ("x\0", "does not parse"),
        ("9" * 5000, "does not parse"),
        ("x3", "names 'x3', which is none of the 3 bits x0 to x2"),
        ("x0*y", "names 'y', which is none of the 3 bits"),
        ("x01", "names 'x01'"),
        ("x", "names 'x'"),
        ("x²", "names 'x2'|names 'x²'|does not parse"),
        ("exp(x0)", "calls 'exp', which is none of min, max, abs, sign, majority"),
        ("x0.real", "'x0.real' in 'x0.real' is not part of the grammar"),
        ("x0.__class__()", "calls 'x0.__class__'"),
        ("(lambda: 1)()", "calls"),
        ("__import__('os')", "calls '__import__'"),
        ("[x0][0]", "is not part of the grammar"),
        ("x0 if x1 else x2", "is not part of the grammar"),
        ("x0 % 2", "is not part of the grammar"),
        ("x0 // 2", "is not part of the grammar"),
        ("~x0", "is not part of the grammar"),
        ("'a'", "is not part of the grammar"),
        ("1j", "is not part of the grammar"),
        ("True", "is not part of the grammar"),
        ("x0 == 1", "'x0 == 1' in 'x0 == 1' is a condition where a number belongs"),
        ("(x0 == 1) * 2", "is a condition where a number belongs"),
        ("1e999", "has a number beyond the range of floats"),
        ("9" * 400, "has a number beyond the range of floats"),
        ("abs(x0, x1)", "needs one argument without a name, got 2"),
        ("majority(x0, x1)", "needs an odd number of arguments without a name, got 2"),
        ("min()", "needs an argument without a name, got 0"),
        ("min(x0, key=x1)", "needs an argument without a name"),
        ("min(*x0)", "is not part of the grammar"),
        ("-" * 9000 + "x0", "is nested too deeply|does not parse"),
        ("(" * 5000, "nested too deeply|does not parse"),
        ("x0 + " * 3000, "at most 10000 characters, this one 15000"),
    ],
)
def test_what_is_no_number_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ExpressionError, match=sentence) as caught:
        parse_number(text, num_bits=N)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x0", "'x0' in 'x0' is a number where a condition belongs; compare it"),
        ("x0 and x1 == 1", "'x0' in .* is a number where a condition belongs"),
        ("x0 == 1 or y == 1", "names 'y'"),
        ("not x0", "is a number where a condition belongs"),
        ("x0 in x1", "compares with something other than"),
        ("x0 is x1", "compares with something other than"),
        ("x0 == 1 == (x1 == 1)", "is a condition where a number belongs"),
        ("x9", "names 'x9'"),
        ("True", "is not part of the grammar"),
    ],
)
def test_what_is_no_condition_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ExpressionError, match=sentence):
        parse_condition(text, num_bits=N)


def test_a_value_that_is_not_finite_is_refused_with_the_bits():
    with pytest.raises(
        ExpressionError, match=r"not finite where the bits are \(-1, -1, 1\); it divides"
    ):
        parse_number("1 / (x0 + x1 + x2 + 1)", num_bits=N)(CUBE)
    with pytest.raises(ExpressionError, match="is not finite"):
        parse_number("9**9**9", num_bits=N)(CUBE)
    with pytest.raises(ExpressionError, match="is not finite"):
        parse_number("x0**0.5", num_bits=N)(CUBE)


@pytest.mark.parametrize("comparison", ["==", "!=", "<", "<=", ">", ">="])
def test_comparisons_of_equal_and_of_unequal_numbers(comparison):
    text = f"x0 {comparison} x1"
    assert parse_condition(text, num_bits=N)(CUBE).tolist() == python(text)
