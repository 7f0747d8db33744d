"""What to do, and how many more seeds would decide, from leads that are known."""

import numpy as np
import pytest
from scipy import stats

from deqlab.experiments.comparing.contest import advice, contest, more_seeds, seeds_wanted
from deqlab.runs.records import Rival


def rival(result, *, label="FNN", group="equal parameters", high=0.0, confidence=0.75):
    return Rival(
        label=label,
        group=group,
        result=result,
        estimate=0.0,
        low=-1.0,
        high=high,
        confidence=confidence,
    )


@pytest.mark.parametrize(
    ("results", "start"),
    [
        (["win", "win"], "Take the DEQ: it beats every rival"),
        (["win", "tie"], "Take the DEQ where its rivals are the 1 of 2 that it beats"),
        (["tie", "tie"], "No DEQ is needed"),
        (["win", "neither"], "Take the DEQ where"),
        (["neither", "neither"], "Choose nothing by this run"),
        (["win", "loss"], "Take FNN at equal parameters: it beats the DEQ."),
    ],
)
def test_the_advice_follows_from_the_results(results, start):
    assert advice([rival(result) for result in results]).startswith(start)


def test_of_several_that_beat_the_deq_the_surest_is_advised():
    rivals = [rival("loss", label="near", high=-0.1), rival("loss", label="far", high=-0.9)]
    assert advice(rivals).startswith("Take far at")


def test_a_rival_of_another_cost_is_advised_by_none_of_equal_cost():
    larger = rival("loss", label="Larger", group="")
    assert advice([larger, rival("win")]).startswith("Take the DEQ: it beats every rival")
    assert advice([larger]) == "Larger beats the DEQ, but not at equal cost."
    twin = rival("loss", label="Twin of equal parameters")
    assert advice([twin]) == "Take Twin of equal parameters: it beats the DEQ."


@pytest.mark.parametrize("lead", [0.3, 0.5, 0.9, 1.3])
def test_so_many_seeds_are_wanted_as_a_t_test_asks_for(lead):
    count = int(seeds_wanted([lead - 1, lead, lead + 1]))

    def p(n):  # of n differences with that lead and standard deviation 1, by scipy's own test
        half = np.linspace(-1, 1, n)
        return stats.ttest_1samp(lead + half / half.std(ddof=1), 0.0).pvalue

    assert p(count) < 0.05
    assert count == 6 or p(count - 1) >= 0.05


def test_no_number_of_seeds_decides_without_a_lead():
    assert seeds_wanted([1.0, -1.0]) == float("inf")
    assert seeds_wanted([float("inf"), 1.0]) == float("inf")
    assert more_seeds([(rival("tie"), [1.0, -1.0, 0.0])]).startswith("More than 1,000 seeds")


def test_the_line_about_seeds_says_what_is_open():
    near, far = (rival("tie"), [1.0, 2.0, -0.5]), (rival("tie"), [1.0, -1.0, 0.1])
    told = more_seeds([near, far, (rival("win"), [1.0, 1.0, 1.0])])
    assert "more seeds would decide the nearest of 2 open rivals" in told
    assert "Student's t" in told
    assert "3 more can make it 97 %" in more_seeds([(rival("win"), [1.0] * 3)])
    assert "cannot be told from one" in more_seeds([(rival("tie"), [1.0])])
    sure = rival("win", confidence=0.96)
    assert more_seeds([(sure, [1.0] * 8)]).endswith("a confidence of 96 %.")
    assert "neither learns" in more_seeds([(rival("neither"), [1.0] * 3)])


def test_a_contest_keeps_its_rivals_in_order():
    gains = [(rival("win", label=name), [1.0] * 3) for name in "ab"]
    found = contest("times", 1.0, gains, solved=1.0)
    assert [each.label for each in found.rivals] == ["a", "b"]
    assert "beats every rival" in found.advice


def test_nothing_is_advised_by_a_deq_that_was_none():
    found = contest("times", 1.0, [(rival("win"), [1.0] * 3)], solved=0.98)
    assert "was not at its equilibrium" in found.advice
