"""The experiment on constructions: what its rows say, and that its verdict can fail."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments import EXPERIMENTS
from deqlab.experiments.expressivity.constructions import EXPERIMENT, ConstructionsConfig
from deqlab.report.chart_reader import KINDS

CONFIG = replace(EXPERIMENT.presets["smoke"], seeds=(0, 1))


@pytest.fixture(scope="module")
def rows():
    return [
        {"arm": job.arm, "seed": job.seed, **row}
        for job in EXPERIMENT.plan(CONFIG, [])
        for row in EXPERIMENT.run(CONFIG, job)
    ]


def of(rows, kind, arm):
    return [row for row in rows if row["kind"] == kind and row["arm"] == arm]


def test_it_is_known_by_its_name():
    assert EXPERIMENTS["constructions"] is EXPERIMENT


def test_every_job_ends_with_its_summary(rows):
    jobs = EXPERIMENT.plan(CONFIG, [])
    assert len({(job.arm, job.seed) for job in jobs}) == len(jobs)
    ended = [(row["arm"], row["seed"]) for row in rows if row["kind"] == "summary"]
    assert ended == [(job.arm, job.seed) for job in jobs]


@pytest.mark.parametrize("arm", ["deq-narrow", "deq-wide", "fnn-exact"])
def test_sawtooths_are_exact_with_two_to_the_k_regions(rows, arm):
    found = of(rows, "sawtooth", arm)
    assert [(row["k"], row["regions"], row["error"]) for row in found] == [(1, 2, 0), (3, 8, 0)]
    if arm != "fnn-exact":
        assert [row["evaluations"] for row in found] == [2, 4]
        assert all(row["converged"] == 1 and row["residual"] == 0 for row in found)


def test_ramps_are_exact_and_their_norms_stay(rows):
    found = of(rows, "ramp", "deq-ramp")
    assert [row["d"] for row in found] == [2, 10]
    for row in found:
        assert row["error"] == 0
        assert row["regions"] == 3
        assert row["infinity_norm"] == 2
        assert row["converged"] == 1


def test_bounds_are_those_of_theory_and_no_random_network_breaks_them(rows):
    assert [row["regions"] for row in of(rows, "sawtooth", "bound-2")] == [3, 16]
    assert [row["regions"] for row in of(rows, "random", "bound-2")] == [25, 81]
    norms = [row["infinity_norm"] for row in of(rows, "ramp", "bound-1")]
    assert norms == pytest.approx([(0.8 * 4) ** 0.5, (0.8 * 1024) ** 0.5])
    for depth in CONFIG.depths:
        for row in of(rows, "random", f"fnn-random-{depth}"):
            assert 1 <= row["regions"] <= (row["width"] + 1) ** depth
            assert row["share_of_bound"] == row["regions"] / (row["width"] + 1) ** depth
    assert len(of(rows, "random", "deq-random")) == 2 * len(CONFIG.widths)


def test_seeds_draw_different_networks_and_the_same_seed_the_same():
    def regions(seed):
        job = next(
            job
            for job in EXPERIMENT.plan(CONFIG, [])
            if job.arm == "fnn-random-2" and job.seed == seed
        )
        torch.manual_seed(99)  # whatever was drawn before
        config = replace(CONFIG, widths=(8, 16, 32))
        return [row.get("regions") for row in EXPERIMENT.run(config, job)]

    assert regions(0) == regions(0)
    assert regions(0) != regions(1)


def test_the_verdict_sees_an_error_a_miscount_and_a_solve_that_failed(rows):
    assert EXPERIMENT.judge(CONFIG, rows).outcome == "holds"

    def spoiled(**fields):
        return [
            row | fields if row["kind"] == "summary" and row["arm"] == "deq-wide" else row
            for row in rows
        ]

    verdict = EXPERIMENT.judge(CONFIG, spoiled(exact=False, error=1e-16))
    assert verdict.outcome == "holds partly"
    assert "3 of 4 constructions" in verdict.sentence
    assert any("DEQ, width 2k: error 1e-16" in line for line in verdict.details)
    none = [row | {"exact": False} if row.get("exact") else row for row in rows]
    assert EXPERIMENT.judge(CONFIG, none).outcome == "does not hold here"


@pytest.mark.parametrize("wrong", ["error", "regions", "converged"])
def test_a_summary_is_not_exact_if_one_point_is_not(monkeypatch, wrong):
    from deqlab.experiments.expressivity import constructions

    measured = constructions.measured
    spoil = {"error": 1e-300, "regions": 7, "converged": 0.99}[wrong]
    monkeypatch.setattr(constructions, "measured", lambda *args: measured(*args) | {wrong: spoil})
    job = next(job for job in EXPERIMENT.plan(CONFIG, []) if job.arm == "deq-narrow")
    assert list(EXPERIMENT.run(CONFIG, job))[-1]["exact"] is False


def test_charts_name_fields_that_rows_have(rows):
    for chart in EXPERIMENT.page.charts:
        assert chart.kind in KINDS
        assert any(row["kind"] == chart.rows and chart.y in row and chart.x in row for row in rows)
    for table in EXPERIMENT.page.tables:
        for column in table.columns:
            assert any(row["kind"] == table.rows and column.field in row for row in rows)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"log2_regions": (3, 1)}, r"log2_regions needs increasing numbers from 1 to 16"),
        ({"log2_regions": (17,)}, r"from 1 to 16, got \[17\]"),
        ({"log2_steepness": (25,)}, "log2_steepness needs increasing numbers from 0 to 24"),
        ({"depths": ()}, "depths needs increasing numbers"),
        ({"widths": (0,)}, "widths needs increasing numbers from 1 to 1000"),
        ({"num_points": 0}, "num_points must be at least 1, got 0"),
        ({"seeds": ()}, "seeds needs at least one number"),
    ],
)
def test_a_field_outside_its_domain_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        ConstructionsConfig(**fields)
