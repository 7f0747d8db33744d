"""`stabilisers`: its arms, its cell, its verdict, and a smoke run where the data are."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv2d, group_norm

from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.base import PROGRESS
from deqlab.experiments.stabilisers.stabilisers_report import judge
from deqlab.experiments.stabilisers.textbook import TextbookCell
from deqlab.stability import Hutchinson
from deqlab.tasks.files.errors import DataError

EXPERIMENT = EXPERIMENTS["stabilisers"]
SMOKE = EXPERIMENT.presets["smoke"]


def test_every_stabiliser_competes_in_every_setting_that_has_it():
    jobs = EXPERIMENT.plan(replace(SMOKE, weights=(0.1, 1.0)), [])
    arms = [job.arm for job in jobs]
    assert len(arms) == len(set(arms)) == 10 + 10
    assert {"conv: operator norms", "conv: nothing", "attention: denoising 0.1"} <= set(arms)
    assert {"attention: spectral norms", "attention: spectral norms, rate control"} <= set(arms)
    (job,) = [job for job in jobs if job.arm == "conv: hutchinson 0.1"]
    assert job.settings["penalty"] == Hutchinson(weight=0.1)


def test_the_textbook_cell_is_its_formula():
    torch.manual_seed(0)
    cell = TextbookCell(8).double()
    z, x = torch.randn(2, 3, 8, 5, 5, dtype=torch.float64)
    for gain in (1.0, 0.3):
        cell.knob.value.fill_(gain)
        a, b, c, d = cell.first.weight, cell.first.bias, cell.second.weight, cell.second.bias
        inner = group_norm(conv2d(z, a, padding=1), 4) + b.view(-1, 1, 1)
        fed = gain * conv2d(inner.relu(), c, padding=1)
        expected = (group_norm(x + fed, 4) + d.view(-1, 1, 1)).relu()
        torch.testing.assert_close(cell(z, x), expected)
    cell.knob.value.zero_()
    assert torch.equal(cell(z, x), cell(2 * z, x))


def summaries(losses, shares):
    return [
        {
            "kind": "summary",
            "arm": f"{setting}: {name}",
            "seed": seed,
            "setting": setting,
            "stabiliser": name,
            "test_loss": loss + 0.01 * seed,
            "converged": share,
        }
        for setting in ("conv", "attention")
        for (name, loss), share in zip(losses.items(), shares, strict=True)
        for seed in range(3)
    ]


@pytest.mark.parametrize(
    ("losses", "shares", "outcome"),
    [
        ((1.0, 1.0, 0.9), (1.0, 0.5, 0.7), "holds"),  # who does not hold cannot beat it
        ((1.0, 1.0, 0.9), (1.0, 0.5, 1.0), "does not hold here"),
        ((1.0, 1.0, 1.1), (1.0, 0.5, 1.0), "holds"),
        ((1.0, 1.0, 1.1), (0.98, 0.5, 1.0), "does not hold here"),
    ],
)
def test_the_verdict_asks_for_the_equilibrium_first(losses, shares, outcome):
    names = ("rate control", "nothing", "denoising 1")
    verdict = judge(None, summaries(dict(zip(names, losses, strict=True)), shares))
    assert verdict.outcome == outcome
    assert "with nothing 50.0 %" in verdict.details[0]


def test_a_difference_within_the_spread_is_none():
    rows = summaries({"rate control": 1.0, "nothing": 1.0, "denoising 1": 1.0}, (1.0, 0.5, 1.0))
    for row in rows:
        if row["stabiliser"] == "denoising 1":
            row["test_loss"] += (-0.1, 0.1, 0.1)[row["seed"]]
    assert judge(None, rows).outcome == "holds"


@pytest.mark.slow
def test_a_smoke_run_leaves_rows_of_every_kind():
    try:
        EXPERIMENT.check(SMOKE)
    except DataError as error:
        pytest.skip(str(error))
    rows = []
    for job in EXPERIMENT.plan(SMOKE, []):
        if job.settings["stabiliser"] in ("rate control", "hutchinson 1", "operator norms"):
            torch.manual_seed(0)
            made = [row for row in EXPERIMENT.run(SMOKE, job) if row["kind"] != PROGRESS]
            assert [row["kind"] for row in made] == ["step", "summary"]
            rows += [{"arm": job.arm, "seed": job.seed, **row} for row in made]
    assert len(rows) == 2 * 5
    for row in rows:
        assert 0 <= row["converged"] <= 1
        assert row["test_loss"] > 0
        assert row["evaluations"] > 1
