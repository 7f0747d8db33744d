"""GOTU: networks learn on seen points alone, and are tested on all others."""

import itertools
from dataclasses import replace

import pytest
import torch

from deqlab.cli.overrides import override
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.bias.gotu import GotuConfig
from deqlab.experiments.config import UsageError
from deqlab.tasks.boolean import gotu_error

# The target and the seen part of each task, from the publication, as Python.
TASKS = {
    "gotu-f1": (
        lambda x: x[0] * x[1] - 1.25 * x[1] * x[2] + 1.5 * x[2] * x[0],
        lambda x: x[0] * x[1] * x[2] == 1,
    ),
    "gotu-f2": (lambda x: x[0] * x[1], lambda x: x[0] == 1 or x[1] == 1),
    "gotu-f3": (
        lambda x: sum(x[i] * x[(i + 1) % 15] * x[(i + 2) % 15] for i in range(15)),
        lambda x: 1 in x[:3],
    ),
    "gotu-f4": (lambda x: 1 if sum(x[:3]) > 0 else -1, lambda x: x[0] == 1 or x[1] == 1),
    "gotu-frozen": (lambda x: 2 * x[0] + x[1] + 1.5 * x[2] + x[3], lambda x: x[0] == 1),
}
SMALL = {"target": "x0*x1", "seen": "x0 == 1 or x1 == 1", "num_bits": 6}


def cube(num_bits):
    return [list(point) for point in itertools.product((-1, 1), repeat=num_bits)]


def smoke(name="gotu-f2", **changes):
    return replace(EXPERIMENTS[name].presets["smoke"], **changes)


@pytest.mark.parametrize("name", TASKS)
def test_every_preset_is_the_published_task(name, training_of):
    experiment = EXPERIMENTS[name]
    shown = {"gotu-f1", "gotu-f2"}  # the others are tasks of others, or ours
    assert experiment.origin == ("published" if name in shown else "asked")
    assert ("Figure 1(c, f)" in experiment.source) == (name in ("gotu-f1", "gotu-f2"))
    assert list(experiment.presets) == ["smoke", "quick", "full"]
    quick = experiment.presets["quick"]
    for preset in experiment.presets.values():
        assert (preset.target, preset.seen, preset.num_bits) == (quick.target, quick.seen, 15)
        assert preset.dtype == "float32"
        experiment.check(preset)
    assert len(experiment.presets["full"].seeds) >= 8
    target, seen = TASKS[name]
    training = training_of(experiment, experiment.presets["smoke"])
    for x, y in (training.validation, next(iter(training.batches(0)))):
        assert x.dtype == y.dtype == torch.float32
        points = [[int(bit) for bit in point] for point in x.tolist()]
        assert all(seen(point) for point in points)
        assert y[:, 0].tolist() == [target(point) for point in points]


@pytest.mark.parametrize("name", ["gotu-f2", "gotu-f4"])
def test_the_test_set_is_every_unseen_point_once_and_no_seen_one(name, training_of):
    target, seen = TASKS[name]
    x, y = training_of(EXPERIMENTS[name], smoke(name, num_bits=6)).test
    expected = sorted((point, [target(point)]) for point in cube(6) if not seen(point))
    assert sorted(zip(x.tolist(), y.tolist(), strict=True)) == expected


@pytest.mark.parametrize("arm", ["deq", "fnn-1-parameters"])
def test_the_test_loss_is_the_gotu_error_of_the_network_that_is_kept(arm):
    experiment, config = EXPERIMENTS["gotu-f2"], smoke(**SMALL, steps=2, learning_rates=(1e-2,))
    target, seen = TASKS["gotu-f2"]

    def after(config, predict):
        unseen = torch.tensor([p for p in cube(6) if not seen(p)], dtype=torch.float32)
        wanted = torch.tensor([float(target(p)) for p in unseen.tolist()])
        squares = (predict(unseen)[:, 0] - wanted).double() ** 2
        yield {
            "kind": "gotu",
            "measured": gotu_error(predict, config.task()),
            "brute": squares.mean().item(),
        }

    task = replace(experiment.run.__self__, after=after)
    job = next(job for job in task.plan(config, []) if job.arm == arm)
    torch.manual_seed(0)
    rows = list(task.run(config, job))
    (told,) = [row for row in rows if row["kind"] == "gotu"]
    assert rows[-1]["test_loss"] == pytest.approx(told["brute"], rel=1e-5)  # float32
    assert rows[-1]["test_loss"] == pytest.approx(told["measured"], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["target=x0 +"], "'x0 +'"),
        (["target=x0*x15"], "x15"),
        (["num_bits=1"], "x1"),
        (["target=__import__('os')"], "__import__"),
        (["seen=x0"], "'x0'"),
        (["seen=x0 == 1 or x0 == -1"], "holds on all 32768 points of the cube, which leaves noth"),
        (["seen=x0 == 1 and x0 == -1"], "holds on none of the 32768 points of the cube, which lea"),
        (["num_bits=21"], "num_bits must be from 1 to 20, got 21"),
        (["num_bits=0"], "num_bits must be from 1 to 20, got 0"),
    ],
)
def test_a_field_outside_its_domain_is_one_sentence(settings, sentence):
    with pytest.raises(UsageError) as refused:
        override(GotuConfig(target="x0*x1", seen="x0 == 1 or x1 == 1"), settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_subject_names_the_target_and_what_was_seen():
    def summary(arm, matching=None):
        row = {"kind": "summary", "arm": arm, "seed": 0, "label": arm, "matching": matching}
        return row | {"test_loss": 0.1, "converged": 1.0}

    found = [summary("deq"), summary("fnn", "parameters")]
    verdict = EXPERIMENTS["gotu-f2"].judge(smoke(), found)
    assert verdict.sentence.startswith("Where x0*x1 was not seen (x0 == 1 or x1 == 1 was), the DEQ")
