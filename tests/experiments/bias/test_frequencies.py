"""Waves of several frequencies: the target, and how much of each wave a network holds."""

import math
from dataclasses import replace

import pytest
import torch

from deqlab.cli.overrides import override
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.bias.frequencies import FrequenciesConfig
from deqlab.experiments.config import UsageError

EXPERIMENT = EXPERIMENTS["frequencies"]
SMOKE = EXPERIMENT.presets["smoke"]


def shares(training_of, output, **changes):
    """The rows about a network with this output."""
    asked = []

    def predict(x):
        asked.append(x)
        return output(x)

    found = list(training_of(EXPERIMENT, replace(SMOKE, **changes)).after(predict))
    (x,) = asked
    return x, found


def test_every_preset_is_a_sum_of_waves(training_of):
    assert list(EXPERIMENT.presets) == ["smoke", "quick", "full"]
    assert EXPERIMENT.origin == "published"
    assert "a conjecture there" in EXPERIMENT.source
    for name, config in EXPERIMENT.presets.items():
        assert config.frequencies == ((1, 4) if name == "smoke" else (1, 2, 4, 8, 16))
        EXPERIMENT.check(config)
        training = training_of(EXPERIMENT, config)
        for x, y in (training.test, training.validation, next(iter(training.batches(0)))):
            assert x.dtype == y.dtype == torch.float32
            assert ((x >= 0) & (x <= 1)).all()
            waves = [torch.sin(2 * math.pi * k * x.double()) for k in config.frequencies]
            torch.testing.assert_close(y.double(), sum(waves), rtol=0, atol=1e-6)
    assert len(EXPERIMENT.presets["full"].seeds) >= 8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("frequency", [1, 4, 9])
def test_one_wave_alone_has_a_share_of_one_there_and_none_elsewhere(training_of, dtype, frequency):
    known = (1, 4, 9)
    x, found = shares(
        training_of,
        lambda x: torch.sin(2 * math.pi * frequency * x),
        frequencies=known,
        dtype=dtype,
    )
    assert x.dtype == getattr(torch, dtype)
    assert x.shape == (4096, 1)
    assert [set(row) for row in found] == [{"kind", "frequency", "share"}] * 3
    assert [row["kind"] for row in found] == ["wave"] * 3
    assert [row["frequency"] for row in found] == list(known)
    expected = [float(k == frequency) for k in known]
    accuracy = 1e-5 if dtype == "float32" else 1e-12  # of the sine of a rounded x
    assert [row["share"] for row in found] == pytest.approx(expected, abs=accuracy)


def test_shares_are_linear_in_the_output_and_blind_to_other_waves(training_of):
    def output(x):
        angle = 2 * math.pi * x
        return -0.5 * torch.sin(4 * angle) + 7 * torch.sin(3 * angle) + torch.cos(angle) + 2

    _, found = shares(training_of, output, dtype="float64")
    assert [row["share"] for row in found] == pytest.approx([0.0, -0.5], abs=1e-12)


def test_a_run_tells_of_every_wave_once():
    torch.manual_seed(0)
    rows = list(EXPERIMENT.run(SMOKE, EXPERIMENT.plan(SMOKE, [])[-1]))
    waves = [row for row in rows if row["kind"] == "wave"]
    assert [row["frequency"] for row in waves] == [1, 4]
    assert all(math.isfinite(row["share"]) for row in waves)
    chart = EXPERIMENT.page.charts[0]
    assert (chart.rows, chart.x, chart.y) == ("wave", "frequency", "share")
    assert rows[-1]["kind"] == "summary"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("4,4", "frequencies needs different whole numbers of at least 1, got [4, 4]"),
        ("0,1", "frequencies needs different whole numbers of at least 1, got [0, 1]"),
        ("1,2048", "frequencies up to 2048 needs at least 4097 points, got 4096"),
        ("1.5", "--set frequencies takes integers"),
    ],
)
def test_frequencies_outside_their_domain_are_one_sentence(text, sentence):
    with pytest.raises(UsageError) as refused:
        override(FrequenciesConfig(), [f"frequencies={text}"])
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert override(FrequenciesConfig(), ["frequencies=2047"]).frequencies == (2047,)
