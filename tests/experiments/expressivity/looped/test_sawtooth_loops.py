"""The experiment: arms, jobs and rows at the smoke preset, and fields out of their domain."""

from dataclasses import replace

import pytest
import torch

from deqlab.cli.overrides import override
from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.base import PROGRESS
from deqlab.experiments.comparing.matching import BudgetError
from deqlab.experiments.config import UsageError
from deqlab.experiments.expressivity.looped import networks, trials
from deqlab.experiments.expressivity.looped.sawtooth_loops import EXPERIMENT
from deqlab.experiments.expressivity.looped.trials import Training, Trial, TrialsConfig
from deqlab.gradients import Implicit, Loops
from deqlab.nn import SpectralNorm, Triangular
from deqlab.nn.cells.constraints import Unconstrained

SMOKE = EXPERIMENT.presets["smoke"]


def run(config, job):
    torch.manual_seed(job.seed)
    return [row for row in EXPERIMENT.run(config, job) if row["kind"] != PROGRESS]


@pytest.fixture(scope="module")
def rows():
    jobs = EXPERIMENT.plan(SMOKE, [])
    return [{"arm": job.arm, "seed": job.seed, **row} for job in jobs for row in run(SMOKE, job)]


def test_it_is_known_by_its_name_and_has_the_settings_that_were_asked_for():
    assert EXPERIMENTS["sawtooth-loops"] is EXPERIMENT
    assert list(EXPERIMENT.presets) == ["smoke", "quick", "full"]
    for config in EXPERIMENT.presets.values():
        EXPERIMENT.check(config)
    for config in (EXPERIMENT.presets["quick"], EXPERIMENT.presets["full"]):
        assert (config.width, config.loops, config.batch_size) == (10, (5, 10, 30), 256)
        assert (config.train_samples, config.clip) == (2000, 1.0)
        assert config.learning_rates == (3e-3, 1e-2)
        assert (config.log2_regions[0], config.budgets[0]) == (5, 6000)
    full = EXPERIMENT.presets["full"]
    assert set(full.log2_regions) == {3, 5, 10}
    assert full.budgets == (6000, 30_000, 60_000)
    assert len(full.seeds) >= 8


def test_loops_have_131_weights_and_fnns_match_them_in_both_costs():
    config = TrialsConfig(seeds=(0,), depths=(2, 5))
    jobs = {job.arm: job for job in EXPERIMENT.plan(config, [])}
    assert list(jobs) == [
        *(f"loop-{k}" for k in (5, 10, 30)),
        *(f"deq-{cell}" for cell in ("free", "spectral", "triangular")),
        *(
            f"fnn-{depth}-{of}"
            for of in ("parameters", "loop-5", "loop-10", "loop-30")
            for depth in (2, 5)
        ),
    ]
    built = {arm: networks.build(config, job) for arm, job in jobs.items()}
    weights = {arm: sum(p.numel() for p in net.parameters()) for arm, net in built.items()}
    for arm in ("loop-5", "loop-30", "deq-free", "deq-spectral", "deq-triangular"):
        assert weights[arm] == 131
    for arm, constraint in (("free", Unconstrained), ("spectral", SpectralNorm)):
        layer = built[f"deq-{arm}"][0]
        assert isinstance(layer.cell.constraint, constraint)
        assert isinstance(layer.gradient, Implicit)
    assert isinstance(built["deq-triangular"][0].cell.constraint, Triangular)
    assert [built[f"loop-{k}"][0].gradient for k in (5, 30)] == [Loops(steps=5), Loops(steps=30)]
    for depth in (2, 5):
        assert abs(weights[f"fnn-{depth}-parameters"] - 131) <= 131 / 4
        for k in (5, 10, 30):
            # Multiply-adds: of the loop its k products and those at either end, thrice a step,
            # less the gradient of the input; of an FNN all matrices likewise.
            loop = 2 * 256 * (3 * 100 * k + 2 * 10 + 3 * 10)
            width = jobs[f"fnn-{depth}-loop-{k}"].settings["width"]
            fnn = 2 * 256 * (2 * width + 3 * width**2 * (depth - 1) + 3 * width)
            assert abs(fnn / loop - 1) < 0.25 + 0.02


def test_every_job_leaves_a_search_points_and_a_summary(rows):
    for job in EXPERIMENT.plan(SMOKE, []):
        own = [row for row in rows if row["arm"] == job.arm]
        settings = [(k, budget) for budget in (6, 3) for k in (2, 1)]
        kinds = [row["kind"] for row in own]
        assert kinds == ["search", "search", "point"] * 4 + ["summary"]
        found = [row for row in own if row["kind"] == "point"]
        assert [(row["log2_regions"], row["budget"]) for row in found] == settings
        summary = own[-1]
        for name in ("test_loss", "flops_per_step", "setting"):
            assert summary[name] == found[0][name]
        is_fnn = job.settings["family"] == "fnn"
        for row in (*found, summary):
            assert row["test_loss"] > 0
            assert ("converged" in row) == ("solved_loss" in row) == (not is_fnn)
            assert ("train_converged" in row) == (job.settings["family"] == "deq")
        for point, search in zip(found, (own[i : i + 2] for i in range(0, 12, 3)), strict=True):
            best = min(search, key=lambda row: row["validation_loss"])
            assert point["learning_rate"] == best["learning_rate"]


def test_a_deq_is_at_its_equilibrium_in_training_and_test(rows):
    (summary,) = [r for r in rows if r["kind"] == "summary" and r["arm"] == "deq-spectral"]
    assert summary["converged"] == summary["train_converged"] == 1
    assert summary["solved_loss"] == summary["test_loss"]
    (loop,) = [r for r in rows if r["kind"] == "summary" and r["arm"] == "loop-2"]
    assert loop["solved_loss"] != loop["test_loss"]
    assert loop["evaluations"] == 3


def test_charts_and_tables_name_fields_that_rows_have(rows):
    for chart in EXPERIMENT.page.charts:
        for field in (chart.x, chart.y, chart.panel_by):
            assert any(field in row for row in rows if row["kind"] == chart.rows), field
    for table in EXPERIMENT.page.tables:
        for field in (table.by, *(column.field for column in table.columns)):
            assert any(field in row for row in rows if row["kind"] == table.rows), field


def test_the_verdict_reads_the_rows_and_knows_the_constant(rows):
    verdict = EXPERIMENT.judge(SMOKE, rows)
    assert verdict.outcome == "undecided"
    assert "On a sawtooth of 2^2 linear regions, 6 steps" in verdict.sentence
    assert "a constant has 0.0832" in verdict.sentence
    assert len(verdict.details) == 4 * (2 + 4)


def test_the_trials_of_the_largest_budget_come_first():
    config = TrialsConfig(log2_regions=(5, 3), budgets=(10, 20), learning_rates=(0.1,))
    assert config.trials == [
        Trial(5, 20, 0.1),
        Trial(3, 20, 0.1),
        Trial(5, 10, 0.1),
        Trial(3, 10, 0.1),
    ]


def test_what_a_trial_learns_is_what_it_learns_without_the_others():
    # The same network, budget and rate on the same points, alone and beside three others.
    config = replace(SMOKE, budgets=(3, 6), log2_regions=(2, 1), learning_rates=(1e-2,))
    alone = replace(config, budgets=(3,), log2_regions=(1,))
    job = EXPERIMENT.plan(config, [])[0]
    (point,) = [row for row in run(alone, job) if row["kind"] == "point"]
    others = [row for row in run(config, job) if row["kind"] == "point"]
    (same,) = [row for row in others if (row["log2_regions"], row["budget"]) == (1, 3)]
    for name in ("test_loss", "train_loss", "solved_loss"):
        assert same[name] == pytest.approx(point[name], rel=1e-5)
    assert len({round(row["test_loss"], 7) for row in others}) == 4


def test_points_are_the_same_for_all_sawtooths_and_tests_are_no_training_points():
    x, y = trials.points(5, 300, 0)
    other, z = trials.points(3, 300, 0)
    assert torch.equal(x, other)
    assert not torch.equal(y, z)
    folded = x
    for _ in range(3):
        folded = torch.minimum(2 * folded, 2 - 2 * folded)
    assert torch.equal(z, folded)
    for seed in (trials.VALIDATION_SEED, trials.TEST_SEED):
        assert not torch.isin(trials.points(5, 300, seed)[0], x).any()


def test_a_training_that_became_nan_is_not_kept():
    config = replace(SMOKE, budgets=(1,), log2_regions=(1,))
    training = Training(config, EXPERIMENT.plan(config, [])[0])
    list(training.run())
    with torch.no_grad():
        training.networks.flat[0] = float("nan")
    ((index, search),) = trials.kept(config, training)
    assert index == 1
    assert search[0]["validation_loss"] == float("inf")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["loops=0"], "loops needs one or more increasing numbers"),
        (["loops=10,5"], "loops needs one or more increasing numbers"),
        (["cells=loose"], "cells are free, spectral, triangular; got 'loose'"),
        (["cells=free,free"], "cells needs one or more different names, got ['free', 'free']"),
        (["depths=0"], "depths needs increasing numbers from 1 to 100"),
        (["budgets=5,5"], "budgets needs one or more increasing numbers"),
        (["log2_regions=21"], "log2_regions must be from 1 to 20 in torch.float32, got 21"),
        (["log2_regions=3,3"], "log2_regions needs one or more different numbers, got [3, 3]"),
        (["learning_rates=0"], "learning_rates must be above 0, got [0.0]"),
        (["train_samples=255"], "train_samples must be at least 256, got 255"),
        (["clip=0"], "clip must be above 0, got 0.0"),
        (["seeds=2147483646"], "seeds must be below 2147483646, got 2147483646"),
    ],
)
def test_a_field_outside_its_domain_is_one_sentence(settings, sentence):
    with pytest.raises(UsageError) as refused:
        override(TrialsConfig(), settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_loop_that_no_fnn_matches_is_refused():
    with pytest.raises(BudgetError, match="no FNN of depth 90 has about as many parameters"):
        EXPERIMENT.check(TrialsConfig(depths=(90,)))
