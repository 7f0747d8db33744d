"""The verdict pairs images, and says what it can."""

import re

import pytest
import torch

from deqlab.experiments.saliency.saliency_report import differences, judge
from tests.problems import F64, normal


def network(arm, seed, entropy, area, density=None, *, converged=1.0, correct=None):
    """The rows of one network that the verdict reads."""
    base = {"arm": arm, "seed": seed}
    correct = [True] * len(entropy) if correct is None else correct
    numbers = {"entropy": entropy, "area": area, "density": density or entropy, "correct": correct}
    last = {"test_accuracy": 0.5, "target": 0.5}
    if arm == "deq":
        last["converged"] = converged
    return [
        {**base, "kind": "maps", "taken": "matched", **numbers},
        {
            **base,
            "kind": "maps",
            "taken": "last epoch",
            **{k: [0.0] for k in numbers},
            "correct": [True],
        },
        {**base, "kind": "summary", **last},
    ]


def rows(*gaps, seeds=2, n=250, **deq):
    """A DEQ whose maps exceed the other's by these amounts, with noise in the images."""
    found = []
    for seed in range(seeds):
        image = normal(n, seed=seed)  # common to both: pairing removes it
        noise = 0.01 * normal(n, seed=10 + seed)
        theirs = image.tolist()
        ours = [(image + noise + gap).tolist() for gap in gaps]
        found += network("deq", seed, *ours, **deq)
        found += network("resnet", seed, theirs, theirs, theirs)
    return found


@pytest.mark.parametrize(
    ("gaps", "outcome"),
    [
        ((0.1, 0.2, 0.3), "holds"),
        ((0.1, 0.2, -0.3), "holds partly"),
        ((0.1, 0.2, 0.0), "holds partly"),
        ((0.0, 0.2, 0.0), "holds partly"),
        ((-0.1, -0.2, -0.3), "does not hold here"),
        ((0.0, 0.0, 0.0), "does not hold here"),
    ],
)
def test_the_outcome_counts_intervals_above_zero(gaps, outcome):
    found = judge(rows(*gaps))
    assert found.outcome == outcome
    names = ("entropy of the map", "area above half maximum", "density of the features")
    for name, gap in zip(names, gaps, strict=True):
        if gap:
            assert f"{name} {gap:+.2f}" in found.sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"converged": 0.98}, "only 98.0 % of the DEQ's equilibria were found"),
        ({"n": 199}, "only 199 images have a map of both networks"),
    ],
)
def test_what_cannot_be_decided_is_not(changes, sentence):
    found = judge(rows(0.1, 0.1, 0.1, **changes))
    assert found.outcome == "undecided"
    assert sentence in found.sentence


def test_accuracies_that_differ_in_one_seed_decide_nothing():
    every = rows(0.1, 0.1, 0.1)
    last = [row for row in every if row["kind"] == "summary" and row["arm"] == "resnet"]
    last[1]["test_accuracy"] = 0.54
    found = judge(every)
    assert found.outcome == "undecided"
    assert "the accuracies differ by up to 4.0 points" in found.sentence
    last[1]["test_accuracy"] = 0.48
    assert judge(every).outcome == "holds"


def test_maps_of_zeros_leave_nothing_to_compare():
    every = network("deq", 0, [None] * 3, [None] * 3) + network("resnet", 0, [0.5] * 3, [0.5] * 3)
    found = judge(every)
    assert found.outcome == "undecided"
    assert "nothing to compare" in found.sentence


def test_images_are_paired_and_those_without_a_map_left_out():
    ours, theirs = [0.5, None, 0.7, 0.9], [0.25, 0.5, None, 1.0]
    every = network("deq", 0, ours, ours, correct=[True, True, True, False])
    every += network("resnet", 0, theirs, theirs)
    (found,) = differences(every, "entropy")
    torch.testing.assert_close(found, torch.tensor([0.25, -0.1], dtype=F64))
    (right,) = differences(every, "area", right=True)
    assert right.tolist() == [0.25]
    (other,) = differences(every, "area", taken="last epoch")
    assert other.tolist() == [0.0]


def test_what_the_networks_show_before_training_and_where_both_are_right_is_told_apart():
    every = rows(0.1, 0.1, 0.1, seeds=1, correct=[True] * 100 + [False] * 150)
    for row in rows(-0.5, -0.5, -0.5, seeds=1):
        if row["kind"] == "maps" and row["taken"] == "matched":
            every.append({**row, "taken": "untrained"})
    right, before, _ = judge(every).details
    assert right.startswith("On images that both classify correctly (100 or more a seed): entropy")
    assert "entropy +0.1" in right
    assert before.startswith("Before any training (250 or more a seed): entropy -0.5")


def test_the_sentence_has_estimates_and_intervals():
    (told,) = re.findall(r"entropy of the map (.*?\))", judge(rows(0.1, 0.1, 0.1)).sentence)
    assert re.fullmatch(r"\+0\.\d{3} \(95 % interval \+0\.\d{3} to \+0\.\d{3}\)", told)
