"""The answer from scores that are made up: what is claimed, and what is not."""

import numpy as np
import pytest

from deqlab.experiments.tables.answer import judge, scores_of
from deqlab.experiments.tables.arms import ARMS
from deqlab.intervals import folds_interval

FOLDS = 10
LINEAR, TREES, SIZE, FLOPS = "linear", "trees", "explicit-parameters", "explicit-flops"


def rows_of(means, *, noise=0.005, converged=1.0, metric="test_accuracy"):
    """Summaries of arms whose scores scatter independently, but for what the fold adds to all."""
    draw = np.random.default_rng(0)
    folds = 0.05 * draw.normal(size=FOLDS)
    rows = []
    for arm in ARMS:
        scores = means.get(arm, 0.5) + folds + noise * draw.normal(size=FOLDS)
        for fold, score in enumerate(scores.tolist()):
            row = {"kind": "summary", "arm": arm, "seed": fold, metric: score}
            rows.append(row | ({"converged": converged} if arm == "deq" else {}))
    return rows


def judged(means, leaks=(), metric="test_accuracy", **options):
    rows = rows_of(means, metric=metric, **options)
    scores = scores_of(rows, metric, 500)
    return scores, judge(scores, rows, target="churn", leaks=leaks)


ALL = {arm: 0.8 for arm in ARMS if arm != "constant"}


@pytest.mark.parametrize(
    ("means", "advised", "outcome", "sentence"),
    [
        (ALL | {"deq": 0.9}, "deq", "holds", "Use the DEQ: it predicts churn better"),
        (
            ALL,
            LINEAR,
            "does not hold here",
            "No DEQ needed: nothing is surely better than the linear",
        ),
        (
            ALL | {TREES: 0.9},
            TREES,
            "does not hold here",
            "Not a DEQ: churn is better predicted by the boosted trees.",
        ),
        (
            ALL | {"deq": 0.9, TREES: 0.9},
            TREES,
            "does not hold here",
            "No DEQ needed: nothing is surely better than the boosted",
        ),
        (ALL | {"deq": 0.7}, LINEAR, "does not hold here", "Not a DEQ: churn is better"),
        ({}, None, "undecided", "No model here surely predicts churn better than a const"),
    ],
)
def test_who_is_advised(means, advised, outcome, sentence):
    scores, verdict = judged(means)
    assert scores.advised == advised
    assert verdict.outcome == outcome
    assert verdict.sentence.startswith(sentence)
    assert len(verdict.sentence.split()) <= 13  # twelve, and names of two words


def test_nothing_is_better_that_the_intervals_do_not_support():
    """A lead of two points in a noise of five is none, and how many rows would decide is told."""
    scores, verdict = judged(ALL | {"deq": 0.82}, noise=0.05)
    assert not scores.beats("deq", LINEAR)
    assert scores.advised == LINEAR
    assert verdict.outcome == "does not hold here"
    assert "if it is true, with about" in verdict.details[1]
    half = scores.lead("deq", LINEAR)
    assert half.low < 0 < half.high


def test_chance_alone_is_called_better_no_more_often_than_promised():
    """Of 400 comparisons between equal arms, at most about 5 % may name a winner."""
    draw = np.random.default_rng(0)
    named = 0
    for _ in range(400):
        test = draw.normal(size=FOLDS)
        # What 10 folds of 2 x 5 share makes their differences correlated by 1 / 5.
        shared = draw.normal()
        differences = (0.2**0.5 * shared + 0.8**0.5 * test).tolist()
        named += folds_interval(differences, 0.2, 0.95).sign != 0
    assert named <= 0.08 * 400


def test_the_interval_over_folds_by_hand():
    found = folds_interval([1.0, 2.0, 3.0, 6.0], 0.2, 0.95)
    # mean 3, variance 14 / 3, times 1 / 4 + 1 / 4; t of 3 degrees of freedom at 97.5 % is 3.18245.
    half = 3.182446 * (14 / 3 * 0.5) ** 0.5
    assert found.estimate == 3
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), rel=1e-6)
    with pytest.raises(ValueError, match="needs two differences or more, got 1"):
        folds_interval([1.0], 0.2)


def test_a_deq_off_its_equilibrium_decides_nothing():
    _, verdict = judged(ALL | {"deq": 0.9}, converged=0.9)
    assert verdict.outcome == "undecided"
    assert "not at its equilibrium" in verdict.sentence


def test_arms_that_never_differ():
    """As with a leak, where all of them are always right."""
    scores, verdict = judged(dict.fromkeys(ALL, 1.0), noise=0.0)
    assert scores.lead("deq", LINEAR).high == 0
    assert scores.advised == LINEAR
    assert "no number of rows would decide" in verdict.details[1]


def test_what_is_called_better_than_the_deq_is_better():
    """Trees beat the DEQ for sure and the linear model does not; the linear one is simpler."""
    rows = rows_of(ALL | {TREES: 0.9, "deq": 0.8, LINEAR: 0.85}, noise=0.005)
    for fold in (row for row in rows if row["arm"] == LINEAR):
        fold["test_accuracy"] += 0.3 * (-1) ** fold["seed"]
    scores = scores_of(rows, "test_accuracy", 500)
    verdict = judge(scores, rows, target="churn", leaks=())
    assert scores.advised == LINEAR
    assert not scores.beats(LINEAR, "deq")
    assert verdict.sentence == "Not a DEQ: churn is better predicted by the boosted trees."
    assert "Advised: the linear model" in verdict.details[-2]


def test_the_answer_names_what_is_advised():
    """The linear model and the trees both beat the DEQ, and nothing tells the two apart."""
    for lead in (0.001, -0.001):
        scores, verdict = judged(ALL | {"deq": 0.7, LINEAR: 0.9, TREES: 0.9 + lead}, noise=0.01)
        assert scores.beats(TREES, "deq")
        assert scores.advised == LINEAR
        assert verdict.sentence == "Not a DEQ: churn is better predicted by the linear model."


def test_a_model_that_is_not_shown_to_beat_a_constant_is_not_called_as_bad():
    scores, verdict = judged({LINEAR: 0.56, TREES: 0.4}, noise=0.1)
    assert scores.advised is None
    assert scores.saved == max(scores.of, key=scores.mean) != "constant"
    assert (
        "no model is shown to be better than a constant with 500 rows. The best is the"
        in (verdict.details[-2])
    )
    below, verdict = judged(dict.fromkeys(ARMS, 0.3) | {"constant": 0.9})
    assert below.saved is None
    assert verdict.details[-2].endswith("and none has a higher mean.")


def test_scores_are_written_short():
    scores, verdict = judged(ALL | {LINEAR: -1e75}, metric="r2")
    assert scores.show(-1e75) == "-1e+75"
    assert max(map(len, verdict.details)) < 400
    assert verdict.details[-1].startswith("All of the test rows")


def test_leaks_come_first():
    _, verdict = judged(ALL, leaks=("Suspicion of a leak: a",))
    assert verdict.details[0] == "Suspicion of a leak: a"
    assert "leaving out what may be a leak" in verdict.details[2]


def test_what_does_not_decide_is_told_beside():
    """By ranks the DEQ leads; by accuracy nothing does, and that changes no answer."""
    by_rank = rows_of(ALL | {"deq": 0.9}, metric="auc")
    by_accuracy = rows_of(dict.fromkeys(ARMS, 0.95))
    rows = [a | b for a, b in zip(by_rank, by_accuracy, strict=True)]
    scores, other = (scores_of(rows, metric, 500) for metric in ("auc", "test_accuracy"))
    alone = judge(scores, rows, target="churn")
    both = judge(scores, rows, target="churn", why="Why: b.", beside=other)
    assert (both.sentence, both.outcome) == (alone.sentence, alone.outcome)
    assert both.sentence.startswith("Use the DEQ")
    why, beside = (line for line in both.details if line not in alone.details)
    assert why == "Why: b."
    assert beside.startswith("Beside it, and deciding nothing, accuracy (constant 9")
    assert beside.endswith("No model here surely predicts churn better than a constant.")


def test_a_regression_is_told_in_its_own_numbers():
    _, verdict = judged(ALL | {"deq": 0.9}, metric="r2")
    assert "R^2 on 10 held-out folds of 500 rows" in verdict.details[0]
    assert "The DEQ (0.9" in verdict.details[2]
    assert "%)" not in verdict.details[2]
