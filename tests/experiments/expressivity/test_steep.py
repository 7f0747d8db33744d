"""Steep functions: the published delta, samples of the task, and domains."""

from dataclasses import replace

import pytest
import torch

from deqlab.cli.overrides import override
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.config import UsageError
from deqlab.experiments.expressivity.steep import SteepConfig

PUBLISHED = {"steep-d10": (10, "Figure 1(b)"), "steep-d20": (20, "Figure 1(e)")}


def closed_form(curve, x, delta):
    if curve == "ramp":
        return torch.where(x < 0, 0.0, torch.where(x > delta, 1.0, x / delta))
    return torch.where(x < 0, 0.0, 1 - delta / (x.clamp_min(0) + delta))


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_preset_has_the_published_delta(name):
    d, figure = PUBLISHED[name]
    experiment = EXPERIMENTS[name]
    assert experiment.origin == "published"
    assert f"{figure};" in experiment.source
    assert f"2^-{d}" in experiment.claim
    assert list(experiment.presets) == ["smoke", "quick", "full"]
    for preset in experiment.presets.values():
        assert preset.log2_steepness == d
        assert preset.delta * 2**d == 1
        assert preset.dtype == "float64"
        experiment.check(preset)
    assert len(experiment.presets["full"].seeds) >= 8


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("curve", ["ramp", "rational"])
def test_samples_are_on_the_curve_and_half_of_them_near_the_step(name, curve, training_of):
    experiment = EXPERIMENTS[name]
    config = replace(experiment.presets["smoke"], curve=curve, test_samples=2000)
    training = training_of(experiment, config)
    for x, y in (training.test, training.validation, next(iter(training.batches(0)))):
        assert x.dtype == y.dtype == torch.float64
        assert (x.abs() <= 1).all()
        torch.testing.assert_close(y, closed_form(curve, x, config.delta), rtol=1e-9, atol=1e-9)
    near = (training.test[0].abs() <= 4 * config.delta).double().mean().item()
    assert abs(near - 0.5) < 5 * 0.5 / 2000**0.5  # 5 standard errors


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("curve", ["ramp", "rational"])
def test_who_sees_no_more_than_that_there_is_a_step_has_learned_nothing(name, curve, training_of):
    experiment = EXPERIMENTS[name]
    config = replace(experiment.presets["smoke"], curve=curve, test_samples=4096)
    x, y = training_of(experiment, config).test
    near = x.abs() <= 4 * config.delta
    sides = [x < -4 * config.delta, near, x > 4 * config.delta]
    blind = sum(torch.where(side, y[side].mean(), 0.0) for side in sides)
    loss = (y - blind).square().mean().item()
    outcomes = []
    for share in (1.0, 0.91, 0.89):  # blind networks, and one that sees a little of the step
        rows = [
            {"kind": "summary", "arm": arm, "seed": seed, "label": arm, "matching": matching}
            | {"test_loss": value, "converged": 1.0}
            for arm, matching, value in (
                ("deq", None, share * loss),
                ("a", "parameters", 1.02 * loss),
                ("b", "FLOPs per step", 1.02 * loss),
            )
            for seed in range(8)
        ]
        outcomes.append(experiment.judge(config, rows).outcome)
    assert outcomes == ["undecided", "undecided", "holds"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["log2_steepness=51"], "delta must be at least 8.88e-16 in torch.float64, got 4.44e-16"),
        (["log2_steepness=22", "dtype=float32"], "delta must be at least 4.77e-07 in torch.float3"),
        (["log2_steepness=-1"], "log2_steepness must be at least 0, got -1"),
        (["curve=cubic"], "curve is one of ramp, rational; got 'cubic'"),
    ],
)
def test_a_field_outside_its_domain_is_one_sentence(settings, sentence):
    config = SteepConfig(log2_steepness=10)
    with pytest.raises(UsageError) as refused:
        override(config, settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert override(config, ["log2_steepness=50"]).delta == 2.0**-50


def test_the_subject_names_the_curve_and_its_width():
    def summary(arm, matching=None):
        row = {"kind": "summary", "arm": arm, "seed": 0, "label": arm, "matching": matching}
        return row | {"test_loss": 0.1, "converged": 1.0}

    experiment = EXPERIMENTS["steep-d20"]
    config = replace(experiment.presets["quick"], curve="rational")
    verdict = experiment.judge(config, [summary("deq"), summary("fnn", "parameters")])
    assert verdict.sentence.startswith("On a rational with a step of width 2^-20, the DEQ")
