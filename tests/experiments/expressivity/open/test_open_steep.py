"""The experiment on ramps: jobs, rows and page at the smoke preset, and who wins there."""

import math
from dataclasses import replace

import pytest
import torch

from deqlab.experiments import EXPERIMENTS, GROUPS
from deqlab.experiments.expressivity.open.jobs import route_of
from deqlab.experiments.expressivity.open.open_steep import EXPERIMENT

CONFIG = EXPERIMENT.presets["smoke"]


def rows_of(config):
    return [
        {"arm": job.arm, "seed": job.seed, **row}
        for job in EXPERIMENT.plan(config, [])
        for row in EXPERIMENT.run(config, job)
    ]


@pytest.fixture(scope="module")
def rows():
    return rows_of(CONFIG)


@pytest.fixture(scope="module")
def summaries(rows):
    return {row["arm"]: row for row in rows if row["kind"] == "summary"}


def test_it_is_known_by_its_name_and_follows_the_sawtooth_among_the_claims():
    assert EXPERIMENTS["open-steep"] is EXPERIMENT
    claims = GROUPS["claims"]
    assert claims.index("open-steep") == claims.index("open-sawtooth") + 1
    for config in EXPERIMENT.presets.values():
        EXPERIMENT.check(config)


def test_every_job_ends_with_its_summary(rows):
    jobs = EXPERIMENT.plan(CONFIG, [])
    assert len({(job.arm, job.seed) for job in jobs}) == len(jobs)
    ended = [(row["arm"], row["seed"]) for row in rows if row["kind"] == "summary"]
    assert ended == [(job.arm, job.seed) for job in jobs]


def test_stages_have_the_numbers_of_their_ramps_and_the_same_steps_in_all(rows):
    stages = {}
    for row in rows:
        if row["kind"] == "stage":
            stages.setdefault(row["arm"], []).append(row["d"])
        else:
            assert row["steps"] <= CONFIG.steps_per_stage * CONFIG.width
            assert row["log2_steepness"] == 3
    assert stages["plain-deq"] == stages["construction-0.01-deq"] == [3]
    assert stages["curriculum-fnn-2x2"] == stages["steepening-deq"] == [1, 2, 3]
    assert stages["growth-deq"] == [1, 1, 1, 2, 3]
    assert stages["growth-fnn-2x2"] == [1, 1, 2, 3]


def test_deqs_are_solved_and_fnns_have_a_bound_in_place_of_a_solve(summaries):
    for row in summaries.values():
        if row["family"] == "deq":
            assert row["converged"] == 1
            assert row["residual"] < 1e-10
            assert "bound" not in row
        else:
            assert "converged" not in row
            slope = max(0, 1 - 2 * row["error"]) * 8
            assert row["bound"] == pytest.approx(slope ** (1 / (row["depth"] + 1)))
            assert row["norm"] >= row["bound"]


def test_errors_and_norms_are_those_of_the_networks(summaries):
    job = next(j for j in EXPERIMENT.plan(CONFIG, []) if j.arm == "curriculum-fnn-1x5")
    route = route_of(CONFIG, job)
    network = list(route.stages(CONFIG.train, CONFIG.steps))[-1].network
    x, y = CONFIG.test(3)
    hidden = torch.relu(network.matrix[:5, -2:] @ torch.stack([x, torch.ones_like(x)]))
    wrong = network.matrix[5, :5] @ hidden + network.matrix[5, -1] - y
    row = summaries[job.arm]
    assert row["error"] == pytest.approx(wrong.abs().max().item(), rel=1e-6, abs=1e-13)
    assert row["test_loss"] == pytest.approx(wrong.square().mean().item(), rel=1e-6, abs=1e-26)
    sums = [network.matrix[:5, -2].abs().max(), network.matrix[5, :5].abs().sum()]
    assert row["norm"] == pytest.approx(max(sums).item())


def test_the_test_loss_is_that_of_the_last_stage(rows, summaries):
    last = {row["arm"]: row for row in rows if row["kind"] == "stage"}
    assert last.keys() == summaries.keys()
    for arm, row in last.items():
        ours, theirs = row["test_loss"], summaries[arm]["test_loss"]
        assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-26)
        assert row["flops"] == summaries[arm]["flops"]


def test_only_stages_that_grow_cost_candidates(rows, summaries):
    row = summaries["growth-fnn-1x5"]
    search = CONFIG.candidates * CONFIG.train_samples * 2 * (6**2 + 2 * 6)
    assert row["flops"] == row["steps"] * row["step_flops"] + search
    plain = summaries["plain-deq"]
    assert plain["flops"] == plain["steps"] * plain["step_flops"]


def test_each_ramp_has_its_own_points_and_tests_have_others():
    train, test = CONFIG.train, CONFIG.test
    (x3, _), (x4, y4), (fresh, _) = train(3), train(4), test(4)
    assert len(x4) == CONFIG.train_samples
    assert len(fresh) == CONFIG.test_samples
    assert not torch.isin(fresh, torch.cat([x3, x4])).any()
    # Not the same points in units of the step, as one seed for both would make them.
    assert not torch.isclose(x3[:, None], 2 * x4, rtol=1e-9, atol=0).any()
    assert not torch.isin(x3, x4).any()
    assert torch.equal(y4, (16 * x4).clamp(0, 1))
    assert torch.equal(train(4)[0], x4)
    assert (x4.abs() <= 4 / 16).float().mean() > 0.5


def test_a_job_is_a_function_of_its_seed(summaries):
    config = replace(CONFIG, seeds=(0, 1), routes=("growth",))

    def last(seed, arm):
        job = next(j for j in EXPERIMENT.plan(config, []) if (j.arm, j.seed) == (arm, seed))
        torch.manual_seed(99)  # whatever was drawn before
        return list(EXPERIMENT.run(config, job))[-1]

    arm = "growth-fnn-2x2"
    assert last(0, arm).items() <= summaries[arm].items()
    assert last(0, arm)["train_loss"] != last(1, arm)["train_loss"]


def test_charts_and_tables_name_fields_that_rows_have(rows):
    for chart in EXPERIMENT.page.charts:
        assert any(row["kind"] == chart.rows and chart.y in row and chart.x in row for row in rows)
    for table in EXPERIMENT.page.tables:
        for column in table.columns:
            assert any(row["kind"] == table.rows and column.field in row for row in rows)


def test_the_verdict_reads_the_rows_and_tells_the_norms(rows):
    verdict = EXPERIMENT.judge(CONFIG, rows)
    assert verdict.outcome in {"holds partly", "does not hold here"}
    assert "On a ramp of slope 2^3" in verdict.sentence
    assert "s_k" not in verdict.sentence
    assert "largest infinity norm is" in verdict.sentence
    routes = [line for line in verdict.details if line.startswith("Route ")]
    assert len(routes) == len(CONFIG.routes)
    assert any("DEQ of width 3 (" in line and "seeds" in line for line in verdict.details)


def test_a_win_by_a_recipe_says_what_it_encodes():
    def arm(route, family, loss):
        network = "DEQ" if family == "deq" else "FNN"
        row = {"kind": "summary", "arm": f"{route}-{family}", "route": route, "family": family}
        more = {"depth": 1, "norm": 9.0, "bound": 1.0, "step_flops": 1.0, "network": network}
        label = {"label": f"{network} ({route})", "test_loss": loss, "converged": 1.0}
        return [{**row, **more, **label, "seed": seed} for seed in range(3)]

    rows = [*arm("plain", "deq", 1e-3), *arm("steepening", "deq", 1e-24)]
    rows += [*arm("plain", "fnn", 1e-9), *arm("growth", "fnn", 1e-22)]
    config = replace(CONFIG, log2_steepness=20)
    verdict = EXPERIMENT.judge(config, rows)
    # Both are below the rounding of a slope of 2^20.
    assert "ties with FNN (growth)" in verdict.sentence
    assert "Steepening encodes that a ramp of width delta / 2 is g(2 x)" in verdict.sentence
    assert "without it the DEQ's median is 0.001 at best" in verdict.sentence
