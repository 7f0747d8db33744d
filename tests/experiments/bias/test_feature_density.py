"""feature-density at its smallest: features are those of the networks, and its verdict can fail."""

from dataclasses import replace

import pytest
import torch

from deqlab.bias.features import build
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.bias.feature_density import LABELS, FeatureDensityConfig, train
from tests.problems import normal

EXPERIMENT = EXPERIMENTS["feature-density"]


@pytest.fixture(scope="module")
def rows():
    config = EXPERIMENT.presets["smoke"]
    found = []
    for job in EXPERIMENT.plan(config, []):
        torch.manual_seed(job.seed)
        found += [{"arm": job.arm, "seed": job.seed, **row} for row in EXPERIMENT.run(config, job)]
    return found


def test_training_stops_at_the_fit_and_says_how_many_steps_it_took():
    config = FeatureDensityConfig(steps=30, fit=0.5, learning_rate=0.05)
    torch.manual_seed(0)
    network, x = build("fnn", 4, 0.5), normal(6, 4, seed=1)
    y = x.sum(dim=1)
    first = float(((network.answer(x).output - y) ** 2).mean().detach())
    steps = train(config, network, x, y)
    last = float(((network.answer(x).output - y) ** 2).mean().detach())
    assert 0 < steps < 30
    assert last <= 0.5 < first
    assert train(config, network, x, y) == 0
    assert train(replace(config, fit=1e-12), network, x, y) == 30


def test_rows_are_magnitudes_in_descending_order(rows):
    for arm in LABELS:
        shares = [r["magnitude"] for r in rows if r["arm"] == arm and r["kind"] == "feature"]
        assert len(shares) == 4
        assert shares[0] == 1
        assert shares == sorted(shares, reverse=True)
        (last,) = [r for r in rows if r["arm"] == arm and r["kind"] == "summary"]
        ratio = sum(shares) ** 2 / (4 * sum(v * v for v in shares))
        assert last["density"] == pytest.approx(ratio)
        assert ("residual" in last) == (arm != "fnn")
        assert last["train_loss"] < last["gotu_error"]
    diagonal = next(r for r in rows if r["arm"] == "diagonal" and r["kind"] == "summary")
    assert diagonal["density"] == pytest.approx(diagonal["activity_density"])  # |x| = 1


def test_the_verdict_sees_each_outcome(rows):
    config = EXPERIMENT.presets["smoke"]

    def judge(diagonal, deq, fnn, converged=1.0):
        density = {"diagonal": diagonal, "deq": deq, "fnn": fnn}
        changed = [
            row
            | ({"density": density[row["arm"]]} if row["kind"] == "summary" else {})
            | ({"converged": converged} if "converged" in row else {})
            for row in rows
        ]
        return EXPERIMENT.judge(config, changed).outcome

    assert judge(0.9, 0.8, 0.7) == "holds"
    assert judge(0.9, 0.6, 0.7) == "holds partly"
    assert judge(0.5, 0.8, 0.7) == "holds partly"
    assert judge(0.5, 0.6, 0.7) == "does not hold here"
    assert judge(0.9, 0.8, None) == "holds"
    assert judge(0.9, 0.8, 0.7, converged=0.9) == "undecided"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": 21}, "features is at most 20, got 20 and 21"),
        ({"features": 3}, "coefficients has 1 to `features` numbers"),
        ({"coefficients": ()}, "coefficients has 1 to `features` numbers"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"fit": 0.0}, "fit must be above 0"),
    ],
)
def test_a_config_outside_its_domain_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(FeatureDensityConfig(), **changes)
