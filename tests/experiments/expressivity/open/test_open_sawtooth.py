"""The experiment: jobs, rows and page at the smoke preset, and who wins there."""

import math
from dataclasses import replace

import pytest
import torch

from deqlab.experiments import EXPERIMENTS, GROUPS
from deqlab.experiments.expressivity.open.open_sawtooth import EXPERIMENT

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


def test_it_is_known_by_its_name_and_one_of_the_claims():
    assert EXPERIMENTS["open-sawtooth"] is EXPERIMENT
    assert "open-sawtooth" in GROUPS["claims"]
    for config in EXPERIMENT.presets.values():
        EXPERIMENT.check(config)


def test_every_job_ends_with_its_summary(rows):
    jobs = EXPERIMENT.plan(CONFIG, [])
    assert len({(job.arm, job.seed) for job in jobs}) == len(jobs)
    ended = [(row["arm"], row["seed"]) for row in rows if row["kind"] == "summary"]
    assert ended == [(job.arm, job.seed) for job in jobs]


def test_each_network_has_the_same_steps_on_each_route(rows):
    for row in rows:
        if row["kind"] == "summary" and row["route"] != "monotone":
            assert row["steps"] <= CONFIG.steps_per_stage * CONFIG.width
    stages = {}
    for row in rows:
        if row["kind"] == "stage":
            stages.setdefault(row["arm"], []).append(row["k"])
    assert stages["plain-deq"] == [2]
    assert stages["curriculum-fnn-1x4"] == [1, 2]
    assert stages["growth-deq"] == [1, 2, 2]
    assert stages["growth-fnn-2x2"] == [1, 2]


def test_deqs_are_solved_and_fnns_have_nothing_to_solve(summaries):
    for row in summaries.values():
        if row["family"] == "deq":
            assert row["converged"] == 1
            assert row["residual"] < 1e-10
            assert row["evaluations"] >= 2
        else:
            assert "converged" not in row
        assert row["regions"] >= 1


def test_growth_learns_four_regions_at_each_network(summaries):
    for arm in ("growth-deq", "growth-fnn-1x4", "growth-fnn-2x2"):
        assert summaries[arm]["test_loss"] < 1e-26
        assert summaries[arm]["learned"] == 1
    # Slivers of rounding may be counted too.
    assert summaries["growth-deq"]["regions"] >= 4


def test_the_test_loss_is_that_of_the_last_stage(rows, summaries):
    last = {row["arm"]: row for row in rows if row["kind"] == "stage"}
    for arm, row in last.items():
        ours, theirs = row["test_loss"], summaries[arm]["test_loss"]
        assert math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-26)
        assert row["flops"] == summaries[arm]["flops"]


def test_flops_are_those_of_the_steps(summaries):
    row = summaries["plain-deq"]
    p, m, n = row["parameters"], row["multiply_adds"], CONFIG.train_samples
    assert (p, m) == (3 + 3 + 3 + 5, 3 + 3 + 4)
    assert row["step_flops"] == n * (2 * p**2 + 8 * m) + p**3 / 3
    assert row["flops"] == row["steps"] * row["step_flops"]


def test_without_noise_constructions_stay_exact_and_cost_the_steps_that_see_it():
    config = replace(CONFIG, routes=("construction",), noises=(0.0,), steps_per_stage=20)
    rows = [row for row in rows_of(config) if row["kind"] == "summary"]
    assert [row["family"] for row in rows] == ["deq", "fnn"]
    for row in rows:
        assert row["test_loss"] < 1e-25
        assert row["regions"] == 4
        assert row["steps"] == 17  # mu from 1e-2 to 1e8, by factors of 4
        assert row["flops"] == row["steps"] * row["step_flops"]


def test_candidates_cost_their_least_squares_problems(summaries):
    row = summaries["growth-fnn-1x4"]
    search = CONFIG.candidates * CONFIG.train_samples * 2 * (5**2 + 2 * 5)
    assert row["flops"] == row["steps"] * row["step_flops"] + search


def test_the_test_loss_is_not_that_of_the_training_points(summaries):
    assert CONFIG.test_samples == CONFIG.train_samples
    for arm in ("plain-fnn-1x4", "monotone-0.01"):
        assert summaries[arm]["test_loss"] != pytest.approx(summaries[arm]["train_loss"], rel=1e-6)


def test_data_is_the_same_for_all_and_tests_are_not_training_points():
    (x, y), (test, _) = CONFIG.train(2), CONFIG.test(2)
    assert torch.equal(CONFIG.train(1)[0], x)
    assert not torch.isin(x, test).any()
    # Dyadic points would alias the sawtooth: at most a few have short fractions.
    assert not (x * 2**12 == (x * 2**12).round()).any()
    assert y.min() >= 0


def test_a_job_is_a_function_of_its_seed(summaries):
    config = replace(CONFIG, seeds=(0, 1), routes=("growth", "monotone"))

    def last(seed, arm):
        job = next(j for j in EXPERIMENT.plan(config, []) if (j.arm, j.seed) == (arm, seed))
        torch.manual_seed(99)  # whatever was drawn before
        return list(EXPERIMENT.run(config, job))[-1]

    for arm in ("growth-fnn-2x2", "monotone-0.01"):
        assert last(0, arm).items() <= summaries[arm].items()
        assert last(0, arm)["train_loss"] != last(1, arm)["train_loss"]


def test_charts_and_tables_name_fields_that_rows_have(rows):
    for chart in EXPERIMENT.page.charts:
        assert any(row["kind"] == chart.rows and chart.y in row and chart.x in row for row in rows)
    for table in EXPERIMENT.page.tables:
        for column in table.columns:
            assert any(row["kind"] == table.rows and column.field in row for row in rows)


def test_the_verdict_reads_the_rows(rows):
    verdict = EXPERIMENT.judge(CONFIG, rows)
    assert verdict.outcome in {"holds partly", "does not hold here"}
    assert "2^2 linear regions" in verdict.sentence
    routes = [line for line in verdict.details if line.startswith("Route ")]
    assert len(routes) == len(CONFIG.routes)
