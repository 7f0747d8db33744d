"""Darcy: the fields, the score, the costs of the networks, what a run says, and the verdict."""

from dataclasses import replace

import pytest
import torch

from deqlab.costs import num_parameters
from deqlab.experiments.base import PROGRESS
from deqlab.recipes import RECIPES
from deqlab.recipes.operators.task import DarcyTask, scored
from deqlab.stability import certify
from deqlab.tasks import darcy

RECIPE = RECIPES["darcy"]
SMOKE, FULL = RECIPE.presets["smoke"], RECIPE.presets["full"]


def test_the_score_is_the_mean_over_fields_of_relative_errors():
    y = torch.ones(2, 1, 3, 3)
    y[1] = 2
    row = scored(y + torch.tensor([0.1, 0.6]).view(2, 1, 1, 1), y)
    assert row["relative_error"] == pytest.approx((0.1 + 0.3) / 2, rel=1e-5)
    assert row["largest_error"] == pytest.approx(0.3, rel=1e-5)


def test_no_field_is_in_two_parts_and_each_has_its_pressure():
    task = DarcyTask(SMOKE)
    x, y = task.test
    assert x.unique().tolist() == [-1, 1]
    torch.testing.assert_close(
        darcy.solve(7.5 + 4.5 * x.double()), (y / 100).double(), rtol=1e-5, atol=1e-8
    )
    parts = [task.test[0], task._choice[0], task._train[0]]
    each = [tuple(field.flatten().tolist()) for part in parts for field in part]
    assert len(set(each)) == len(each) == 2 * SMOKE.test_size + SMOKE.train_size
    batches = list(task.batches(torch.Generator().manual_seed(0)))
    assert len(batches) == SMOKE.steps
    known = set(each[2 * SMOKE.test_size :])
    assert all(tuple(field.flatten().tolist()) in known for a, _ in batches for field in a)


def test_the_larger_network_has_four_times_the_weights_and_the_twin_as_many():
    proved = certify(RECIPE.arms["deq-certified"].make(FULL, None))
    assert all(found.unique for found in proved.values())
    counts = {
        name: num_parameters(RECIPE.arms[name].make(FULL, None))
        for name in ("deq", "fno", "twin-parameters")
    }
    assert counts["fno"] == pytest.approx(4 * counts["deq"], rel=0.1)
    assert counts["twin-parameters"] == pytest.approx(counts["deq"], rel=0.1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"modes": 6}, "modes must be at most 5 on 9 x 9 points, got 6"),
        ({"size": 2}, "size must be at least 3"),
        ({"gain": 9.0}, "gain must lie between 0 and highest = 8.0, got 9.0"),
        ({"certified": 1.0}, "certified must be below 1, got 1.0"),
        ({"rtol": 0.0}, "rtol must lie between 0 and 1, got 0.0"),
        ({"pictures": 9}, "pictures must be at most test_size = 8, got 9"),
    ],
)
def test_a_config_that_cannot_run_is_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        replace(SMOKE, **settings)


def summary(arm, error, seed=0, **fields):
    row = {"arm": arm, "seed": seed, "kind": "summary", "label": arm, "matching": None}
    return {**row, "relative_error": error, **fields}


@pytest.mark.parametrize(
    ("ours", "theirs", "converged", "outcome"),
    [
        (0.02, 0.021, 1.0, "holds"),
        (0.02, 0.02, 1.0, "holds"),
        (0.021, 0.02, 1.0, "does not hold here"),
        (None, 0.02, 1.0, "does not hold here"),
        (0.02, 0.021, 0.98, "undecided"),
    ],
)
def test_the_verdict_asks_for_the_network_of_four_times_the_weights(
    ours, theirs, converged, outcome
):
    rows = [
        summary("deq", ours, converged=converged, test_evaluations=9.0, slips=0),
        summary("fno", theirs),
        summary("twin-parameters", 0.001, matching="parameters"),  # decides nothing
    ]
    assert RECIPE.judge(SMOKE, rows).outcome == outcome
    assert RECIPE.judge(SMOKE, rows[:1]).outcome == "undecided"


@pytest.mark.slow
def test_a_smoke_run_has_its_rows():
    job = next(job for job in RECIPE.plan(SMOKE, []) if job.arm == "deq")
    torch.manual_seed(0)
    found = [row for row in RECIPE.run(SMOKE, job) if row["kind"] != PROGRESS]
    pictures = [row for row in found if row["kind"] == "field"]
    assert len(pictures) == 4 * SMOKE.pictures
    assert len({(row["field"], row["what"]) for row in pictures}) == len(pictures)
    for row in pictures:
        pixels = torch.tensor(row["pixels"])
        assert pixels.shape == (SMOKE.size, SMOKE.size)
        assert 0 <= pixels.min() <= pixels.max() <= 1
    (summary,) = (row for row in found if row["kind"] == "summary")
    assert summary["converged"] == 1
    steps = [row["relative_error"] for row in found if row["kind"] == "step"]
    assert steps[-1] < steps[0] < 1
