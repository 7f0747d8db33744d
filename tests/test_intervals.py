"""Intervals of paired differences against enumeration and scipy, and those of resampled means."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from deqlab.intervals import LEVEL, bootstrap, paired_interval
from tests.problems import F64, normal

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


def test_with_one_seed_the_interval_is_that_of_a_mean():
    sample = 3 + 2 * normal(500, seed=0)
    found = bootstrap([sample])
    half = 1.96 * (sample.std() / 500**0.5).item()
    assert found.estimate == pytest.approx(sample.mean().item(), abs=1e-12)
    # The end of a percentile interval from 2,000 resamples strays by some 4 % of its length.
    assert found.low == pytest.approx(found.estimate - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.estimate + half, abs=0.15 * half)


def test_seeds_that_disagree_widen_the_interval():
    constants = [torch.full((50,), float(value), dtype=F64) for value in (0, 1)]
    found = bootstrap(constants)
    assert (found.estimate, found.low, found.high) == (0.5, 0.0, 1.0)
    # Three seeds, all alike, have no spread; sizes may differ.
    same = bootstrap([torch.full((n,), 0.25, dtype=F64) for n in (10, 20, 30)])
    assert (same.estimate, same.low, same.high) == (0.25, 0.25, 0.25)


def test_seeds_weigh_the_same_whatever_their_number_of_images():
    found = bootstrap([torch.zeros(10, dtype=F64), torch.ones(90, dtype=F64)])
    assert found.estimate == 0.5


def test_the_interval_has_the_level():
    assert bootstrap([torch.zeros(3, dtype=F64)]).confidence == LEVEL == 0.95
