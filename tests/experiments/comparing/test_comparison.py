"""The verdict follows from the rows, by rules that a reader can check."""

import pytest

from deqlab.experiments.comparing.comparison import Metric, judge

LOSS = Metric(field="test_loss", label="a test loss of")


def summaries(arm, losses, *, converged=1.0, matching=None):
    return [
        {
            "kind": "summary",
            "arm": arm,
            "seed": seed,
            "label": arm.upper(),
            "matching": matching,
            "test_loss": loss,
            "converged": converged,
        }
        for seed, loss in enumerate(losses)
    ]


def verdict(other, *, converged=1.0):
    rows = summaries("deq", [0.1, 0.2, 0.3], converged=converged)
    return judge(LOSS, [*rows, *summaries("fnn", other, matching="parameters")], subject="Here")


def test_better_at_every_seed_holds():
    assert verdict([0.11, 0.21, 0.31]).outcome == "holds"


def test_worse_at_every_seed_does_not_hold():
    assert verdict([0.09, 0.19, 0.29]).outcome == "does not hold here"


def test_seeds_are_paired():
    # The medians are equal, and every pair is a win.
    assert "Win against FNN" in verdict([0.11, 0.25, 0.31]).details[0]
    assert "Tie against FNN" in verdict([0.3, 0.2, 0.1]).details[0]


def test_a_network_off_its_equilibrium_decides_nothing():
    assert verdict([0.9, 0.9, 0.9], converged=0.98).outcome == "undecided"


def test_a_loss_that_overflowed_loses():
    assert verdict([None, None, None]).outcome == "holds"


def test_wins_and_losses_together_hold_partly():
    rows = [
        *summaries("deq", [0.1, 0.2, 0.3]),
        *summaries("a", [0.2, 0.3, 0.4], matching="parameters"),
        *summaries("b", [0.05, 0.1, 0.2], matching="FLOPs per step"),
    ]
    answer = judge(LOSS, rows, subject="Here")
    assert answer.outcome == "holds partly"
    assert "at equal parameters it beats 1 of 1 FNN and loses to 0" in answer.sentence
    assert "at equal FLOPs per step it beats 0 of 1 FNN and loses to 1" in answer.sentence


def test_more_losses_than_wins_do_not_hold():
    rows = [
        *summaries("deq", [0.1, 0.2, 0.3]),
        *summaries("a", [0.2, 0.3, 0.4], matching="parameters"),
        *summaries("b", [0.05, 0.1, 0.2], matching="parameters"),
        *summaries("c", [0.05, 0.1, 0.2], matching="FLOPs per step"),
    ]
    assert judge(LOSS, rows, subject="Here").outcome == "does not hold here"


def test_one_seed_of_many_may_differ():
    # Eight seeds: the interval at 95 % may lie on one side though not every seed does.
    ours = summaries("deq", [0.1] * 8)
    theirs = summaries("fnn", [0.098, *(0.2 + 0.01 * i for i in range(7))], matching="parameters")
    answer = judge(LOSS, [*ours, *theirs], subject="Here")
    assert answer.outcome == "holds"
    assert "(96 % interval " in answer.details[0]


def test_between_networks_that_have_learned_nothing_there_is_no_winner():
    ours, theirs = summaries("deq", [0.95] * 3), summaries("fnn", [0.96] * 3, matching="parameters")
    assert judge(LOSS, [*ours, *theirs], subject="Here").outcome == "holds"
    answer = judge(LOSS, [*ours, *theirs], subject="Here", unlearned=1.0)
    assert answer.outcome == "undecided"
    assert "it beats 0 of 1 FNN and loses to 0 (against 1, neither learns)" in answer.sentence
    assert answer.details[0].startswith("Neither learns, the DEQ nor FNN at equal")
    # 0.95 and 0.96 are learned where the best constant has 1.1.
    assert judge(LOSS, [*ours, *theirs], subject="Here", unlearned=1.1).outcome == "holds"


@pytest.mark.parametrize(("other", "outcome"), [(0.5, "does not hold here"), (1.5, "undecided")])
def test_one_network_that_learns_is_enough_to_decide(other, outcome):
    rows = [
        *summaries("deq", [1.0, 1.0, 1.0]),
        *summaries("a", [1.01] * 3, matching="parameters"),
        *summaries("b", [other, other, 1.2], matching="FLOPs per step"),
    ]
    assert judge(LOSS, rows, subject="Here", unlearned=1.0).outcome == outcome


def test_a_win_at_one_cost_of_two_holds_partly():
    rows = [*summaries("deq", [0.1] * 3), *summaries("fnn", [0.2] * 3, matching="parameters")]
    both = ("parameters", "FLOPs per step")
    assert judge(LOSS, rows, subject="Here", views=both[:1]).outcome == "holds"
    answer = judge(LOSS, rows, subject="Here", views=both)
    assert answer.outcome == "holds partly"
    assert "No FNN of these depths comes near the DEQ's FLOPs per step." in answer.details


def test_a_missing_comparison_makes_no_loss_better():
    rows = [*summaries("deq", [0.2]), *summaries("fnn", [0.1], matching="parameters")]
    answer = judge(LOSS, rows, subject="Here", views=("parameters", "FLOPs per step"))
    assert answer.outcome == "does not hold here"


def test_the_factor_is_the_ratio_of_the_losses():
    answer = verdict([0.2, 0.4, 0.6])
    assert "0.4 (0.2 to 0.6), 2 times the DEQ's (75 % interval 2 to 2)." in answer.details[0]
    accuracy = Metric(field="test_loss", label="", is_accuracy=True)
    rows = [*summaries("deq", [0.5]), *summaries("fnn", [0.45], matching="parameters")]
    assert "DEQ less this +5.0 points." in judge(accuracy, rows, subject="").details[0]


def test_the_sentence_shows_the_median_and_the_range():
    assert "0.2 (0.1 to 0.3) over 3 seeds" in verdict([1.0, 1.0, 1.0]).sentence


def test_percentages_are_shown_as_such():
    accuracy = Metric(field="test_accuracy", label="", is_accuracy=True)
    assert accuracy.show([0.5, 0.975, 0.25]) == "50.0 % (25.0 to 97.5)"


@pytest.mark.parametrize("higher", [True, False])
def test_the_direction_of_the_metric_counts(higher):
    metric = Metric(field="test_loss", label="", is_accuracy=higher)
    rows = [*summaries("deq", [2.0] * 3), *summaries("fnn", [1.0] * 3, matching="parameters")]
    outcome = judge(metric, rows, subject="Here").outcome
    assert outcome == ("holds" if higher else "does not hold here")


def test_below_three_seeds_nobody_wins():
    rows = [*summaries("deq", [0.1, 0.1]), *summaries("fnn", [0.9, 0.9], matching="parameters")]
    answer = judge(LOSS, rows, subject="Here")
    assert answer.contest.rivals[0].result == "tie"
    assert "it beats 0 of 1 FNN and loses to 0" in answer.sentence


def test_a_contest_has_the_leads_that_the_sentences_tell():
    (rival,) = verdict([0.2, 0.4, 0.6]).contest.rivals
    assert (rival.label, rival.group, rival.result) == ("FNN", "equal parameters", "win")
    ends = (rival.estimate, rival.low, rival.high)
    assert ends == pytest.approx((2.0, 2.0, 2.0))
    accuracy = Metric(field="test_loss", label="", is_accuracy=True)
    rows = [*summaries("deq", [0.5] * 3), *summaries("fnn", [0.45] * 3, matching="parameters")]
    found = judge(accuracy, rows, subject="").contest
    assert (found.neutral, found.rivals[0].estimate) == (0.0, pytest.approx(5.0))
    overflowed = verdict([None, None, None]).contest.rivals[0]
    assert (overflowed.result, overflowed.low) == ("win", float("inf"))
