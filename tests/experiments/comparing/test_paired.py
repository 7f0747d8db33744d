"""The interval of paired differences against enumeration, scipy, and its own promise."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from deqlab.experiments.comparing.paired import paired_interval

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


def averages(differences):
    return sorted((a + b) / 2 for a, b in combinations_with_replacement(differences, 2))


@pytest.mark.parametrize(
    ("n", "cut"), [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (20, 52)]
)
def test_it_cuts_as_many_averages_as_the_published_table(n, cut):
    # Hollander & Wolfe (1999), Table A.4: the signed-rank statistic at a tail of .025.
    differences = [2.0**i for i in range(n)]
    interval = paired_interval(differences)
    expected = averages(differences)
    assert (interval.low, interval.high) == (expected[cut], expected[-1 - cut])
    assert interval.confidence >= 0.95


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 9])
def test_its_confidence_is_that_of_all_choices_of_signs(n):
    """The true centre 0 is inside for exactly that share of the 2^n equally likely signs."""
    sizes = np.sqrt(np.arange(1, n + 1) * 1.7)
    inside = [
        (one := paired_interval(list(sizes * signs))).low <= 0 <= one.high
        for signs in product((-1, 1), repeat=n)
    ]
    assert np.mean(inside) == pytest.approx(paired_interval(list(sizes)).confidence, abs=1e-12)


@given(st.lists(numbers, min_size=6, max_size=15, unique=True))
def test_it_excludes_zero_if_and_only_if_wilcoxons_test_rejects(differences):
    # scipy's exact test has no ties and no zeros.
    if len({abs(d) for d in differences}) < len(differences) or 0 in differences:
        return
    rejected = wilcoxon(differences, method="exact").pvalue <= 0.05 + 1e-12
    assert (paired_interval(differences).sign != 0) == rejected


@given(st.lists(numbers, min_size=1, max_size=5))
def test_with_few_seeds_it_is_the_range(differences):
    interval = paired_interval(differences)
    assert (interval.low, interval.high) == (min(differences), max(differences))
    assert interval.confidence == 1 - 2.0 ** (1 - len(differences))


@given(st.lists(numbers, min_size=1, max_size=12))
def test_it_turns_with_its_sign(differences):
    one, other = paired_interval(differences), paired_interval([-d for d in differences])
    assert (one.low, one.high) == (-other.high, -other.low)
    assert one.estimate == pytest.approx(-other.estimate, abs=1e-9)
    assert one.low <= one.estimate <= one.high
    assert one.sign == -other.sign


def test_infinite_differences_count_as_large_ones():
    assert paired_interval([float("inf"), 1.0, 2.0]).sign == 1
    assert paired_interval([float("inf"), float("-inf"), 2.0]).sign == 0


@pytest.mark.parametrize("differences", [[], [1.0, float("nan")]])
def test_it_refuses_what_is_no_number(differences):
    with pytest.raises(ValueError, match="one or more numbers"):
        paired_interval(differences)
