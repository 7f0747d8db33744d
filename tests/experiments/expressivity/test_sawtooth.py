"""Sawtooth experiments: the published k, samples of the task, and domains."""

from dataclasses import replace

import pytest
import torch

from deqlab.cli.overrides import override
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.config import UsageError
from deqlab.experiments.expressivity.sawtooth import SawtoothConfig

PUBLISHED = {  # THEORY: Figures 1(a, d) and 3, and Table 1
    "sawtooth-k1": (1, "Figure 3"),
    "sawtooth-k3": (3, "Figure 3"),
    "sawtooth-k5": (5, "Figure 1(a)"),
    "sawtooth-k10": (10, "Figure 1(d)"),
    "sawtooth-k15": (15, "Figure 3"),
    "sawtooth-table": (5, "Table 1"),
}


def test_there_are_no_others():
    named = {name for name in EXPERIMENTS if name.startswith("sawtooth")}
    assert named - {"sawtooth-loops"} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_preset_is_of_the_published_number_of_regions(name):
    k, figure = PUBLISHED[name]
    experiment = EXPERIMENTS[name]
    assert experiment.origin == "published"
    assert f"{figure};" in experiment.source
    assert f"{2**k:,} linear regions" in experiment.claim
    assert list(experiment.presets) == ["smoke", "quick", "full"]
    for preset in experiment.presets.values():
        assert preset.log2_regions == k
        assert preset.dtype == "float64"
        experiment.check(preset)
    quick, full = experiment.presets["quick"], experiment.presets["full"]
    assert quick.width == full.width == 10
    assert len(full.seeds) >= 8
    assert len(full.learning_rates) > 1
    depths = (1, 2, 3, 4, 5, 6) if name == "sawtooth-table" else (1, 2, 3)
    assert quick.depths == full.depths == depths
    assert f"feed-forward networks of {len(depths)} depths" in experiment.claim


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_are_on_the_folded_tent(name, dtype, training_of):
    experiment = EXPERIMENTS[name]
    config = replace(experiment.presets["smoke"], dtype=dtype, test_samples=500)
    training = training_of(experiment, config)
    for x, y in (training.test, training.validation, next(iter(training.batches(0)))):
        assert x.dtype == y.dtype == getattr(torch, dtype)
        assert ((x >= 0) & (x < 1)).all()
        folded = x.double()
        for _ in range(config.log2_regions):
            folded = torch.minimum(2 * folded, 2 - 2 * folded)
        assert torch.equal(folded, y.double())
    # Regions are drawn alike: an average of 500 uniform numbers is within 5 standard errors.
    assert abs(training.test[0].mean().item() - 0.5) < 5 / (12 * 500) ** 0.5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["log2_regions=50"], "log2_regions must be at most 49 in float64, got 50: inputs do not"),
        (["log2_regions=21", "dtype=float32"], "log2_regions must be at most 20 in float32"),
        (["log2_regions=0"], "log2_regions must be at least 1, got 0"),
        (["dtype=float16"], "dtype is one of float32, float64; got 'float16'"),
        (["steps=0"], "steps must be at least 1, got 0"),
    ],
)
def test_a_field_outside_its_domain_is_one_sentence(settings, sentence):
    with pytest.raises(UsageError) as refused:
        override(SawtoothConfig(log2_regions=5), settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("k", "dtype"), [(49, "float64"), (20, "float32")])
def test_as_many_regions_as_the_dtype_resolves_can_be_drawn(k, dtype, training_of):
    experiment = EXPERIMENTS["sawtooth-k1"]
    config = replace(experiment.presets["smoke"], log2_regions=k, dtype=dtype)
    _, y = training_of(experiment, config).test
    assert y.min() < 0.2 < 0.8 < y.max()
