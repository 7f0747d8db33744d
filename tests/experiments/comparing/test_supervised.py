"""The learning rate is searched alike for every arm, and by validation loss."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import mse_loss

from deqlab.experiments.base import Job
from deqlab.experiments.comparing import arms
from deqlab.experiments.comparing.supervised import Training, train

CONFIG = arms.ArmsConfig(
    width=2,
    depths=(1,),
    learning_rates=(1e-4, 3e-2, 1e-3),
    num_evaluations=3,
    batch_size=16,
    solver="picard",
)
STEPS = 9
DEQ = Job(arm="deq", seed=0, settings={"family": "deq", "label": "DEQ", "matching": None})
FNN = Job(
    arm="fnn",
    seed=0,
    settings={"family": "fnn", "depth": 1, "width": 8, "label": "FNN", "matching": "parameters"},
)


def points(n, seed, target):
    x = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed))
    return x, target(x)


def rows(config=CONFIG, job=FNN, *, on_validation=torch.sin, seed=0):
    shape = arms.Shape(config=config, num_inputs=1, num_outputs=1)
    training = Training(
        config=config,
        batches=lambda seed: (points(16, 1000 * seed + i, torch.sin) for i in range(STEPS)),
        num_steps=STEPS,
        test=points(64, -1, torch.sin),
        validation=points(64, -2, on_validation),
        loss=mse_loss,
    )
    torch.manual_seed(seed)
    return list(train(partial(arms.build, shape, job), training, replace(job, seed=seed)))


def of(kind, found):
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in found if row["kind"] == kind
    ]


@pytest.mark.parametrize("job", [DEQ, FNN])
def test_the_rate_of_least_validation_loss_is_kept(job):
    found = rows(job=job)
    losses = {row["learning_rate"]: row["validation_loss"] for row in of("search", found)}
    assert list(losses) == list(CONFIG.learning_rates)
    (summary,) = of("summary", found)
    assert losses[summary["learning_rate"]] == min(losses.values())
    assert summary["learning_rate"] == 3e-2  # the others hardly move in so few steps


def test_it_is_the_validation_loss_that_decides_and_not_the_test_loss():
    # Of a target that only an untrained network is near, the smallest rate is the best.
    torch.manual_seed(0)
    start = arms.build(arms.Shape(config=CONFIG, num_inputs=1, num_outputs=1), FNN)
    (summary,) = of("summary", rows(on_validation=lambda x: start(x).detach()))
    assert summary["learning_rate"] == 1e-4


@pytest.mark.parametrize("job", [DEQ, FNN])
def test_what_is_kept_is_what_that_rate_gives_alone(job):
    searched = rows(job=job)
    (summary,) = of("summary", searched)
    alone = rows(replace(CONFIG, learning_rates=(summary["learning_rate"],)), job)
    assert of("summary", alone) == [summary]
    assert of("trace", alone) == of("trace", searched)
    assert of("step", alone) == of("step", searched)


@pytest.mark.slow
def test_every_rate_trains_equally_long():
    for rate in CONFIG.learning_rates:
        trials = [row for row in of("progress", rows()) if row["learning_rate"] == rate]
        assert [row["step"] for row in trials] == [3, 6, 9]


def test_a_single_rate_is_not_searched():
    found = rows(replace(CONFIG, learning_rates=(1e-3,)))
    assert not of("search", found)


def test_a_rate_that_ends_in_nan_loses():
    found = rows(replace(CONFIG, learning_rates=(1e30, 1e-3)), FNN)
    assert math.isinf(of("search", found)[0]["validation_loss"])
    assert of("summary", found)[0]["learning_rate"] == 1e-3
