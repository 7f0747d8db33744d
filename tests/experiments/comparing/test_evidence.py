"""Evidence: which rows are selected, what is said of them, and what follows for a claim."""

import pytest

from deqlab.experiments.comparing import evidence
from deqlab.intervals import Interval

ROWS = [
    {"kind": "summary", "arm": "deq", "seed": 0, "loss": 1.0, "converged": 0.9},
    {"kind": "summary", "arm": "deq", "seed": 1, "loss": None, "converged": 1.0},
    {"kind": "summary", "arm": "fnn", "seed": 0, "loss": 3.0, "converged": None},
    {"kind": "point", "arm": "fnn", "seed": 0, "loss": 5.0, "d": 2, "converged": 0.1},
]


def test_rows_are_selected_by_kind_and_by_fields():
    assert evidence.select(ROWS) == ROWS[:3]
    assert evidence.select(ROWS, arm="deq", seed=1) == [ROWS[1]]
    assert evidence.select(ROWS, "point", d=2) == [ROWS[3]]
    assert evidence.select(ROWS, "point", d=3) == evidence.select(ROWS, absent=1) == []


def test_values_by_seed_leave_out_or_replace_what_is_null():
    assert evidence.by_seed(ROWS, "loss", arm="deq") == {0: 1.0}
    assert evidence.by_seed(ROWS, "loss", arm="deq", missing=9.0) == {0: 1.0, 1: 9.0}
    assert evidence.by_seed(ROWS, "loss", kind="point", arm="fnn") == {0: 5.0}
    assert evidence.median_of(ROWS, "converged", arm="deq") == pytest.approx(0.95)


def test_the_worst_job_says_how_well_equilibria_were_solved():
    assert evidence.least_converged(ROWS) == 0.9
    assert evidence.least_converged(ROWS[2:]) == 1.0  # of networks without a solve


def test_networks_that_are_only_iterated_do_not_count_among_deqs():
    unrolled = {"kind": "summary", "arm": "unrolled", "seed": 0, "converged": 0.0}
    assert evidence.least_converged_deq([*ROWS, unrolled]) == 0.9
    assert evidence.least_converged_deq([ROWS[1], unrolled]) == 1.0
    assert evidence.least_converged_deq([unrolled]) == 1.0


@pytest.mark.parametrize(
    ("parts", "options", "expected"),
    [
        ([True, True], {}, "holds"),
        ([True, False], {}, "holds partly"),
        ([False, False], {}, "does not hold here"),
        ([], {}, "undecided"),
        ([True], {"solved": 0.989}, "undecided"),
        ([True], {"solved": 0.99}, "holds"),
        ([True, False, False], {"enough": 2}, "does not hold here"),
        ([True, True, False], {"enough": 2}, "holds partly"),
    ],
)
def test_the_outcome_follows_from_the_parts(parts, options, expected):
    assert evidence.outcome(parts, **options) == expected


def test_numbers_in_words():
    assert evidence.with_range([0.25, 1.0, 0.5]) == "0.5 (0.25 to 1)"
    assert evidence.with_range([3.0], "{:.1f}".format, unit=" %") == "3.0 % (3.0 to 3.0)"
    found = Interval(estimate=0.5, low=0.25, high=1.0, confidence=0.953)
    assert evidence.interval(found) == " (95 % interval 0.25 to 1)"
    single = Interval(estimate=0.5, low=0.5, high=0.5, confidence=0.0)
    assert evidence.interval(single) == ""
    assert [evidence.seeds_in_words(n) for n in (1, 2)] == ["1 seed", "2 seeds"]
    assert evidence.percent(0.4567) == "45.7 %"
