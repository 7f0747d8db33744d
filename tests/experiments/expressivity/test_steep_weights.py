"""steep-weights: a norm is noted where a network got there, and nowhere else."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deqlab.cli.overrides import override
from deqlab.experiments.base import Job
from deqlab.experiments.comparing import arms, matching
from deqlab.experiments.config import UsageError
from deqlab.experiments.expressivity import steep_weights
from deqlab.experiments.expressivity.steep_weights import EXPERIMENT, SteepWeightsConfig, bound
from deqlab.expressivity import steep_ramp
from deqlab.nn import DEQ
from deqlab.solvers import Newton
from deqlab.tasks import steep

SMOKE = replace(
    EXPERIMENT.presets["smoke"], batch_size=32, max_steps=100, learning_rates=(3e-2,), starts=1
)
SHORT = replace(SMOKE, steps=4, check_every=4)
JOBS = {job.arm: job for job in EXPERIMENT.plan(SMOKE, [])}


def run(job, config=SMOKE):
    torch.manual_seed(0)
    return list(EXPERIMENT.run(config, job))


@pytest.fixture
def built(monkeypatch):
    """The networks that an experiment builds, in order."""
    networks, build = [], arms.build

    def keep(shape, job):
        networks.append(build(shape, job))
        return networks[-1]

    monkeypatch.setattr(arms, "build", keep)
    return networks


@pytest.fixture
def exact(monkeypatch):
    """Puts the ramp of slope 2^d itself in the place of every network, and hardly trains it."""

    def exact(d, *, patience=50):
        ramp = steep_ramp(2.0**-d)
        solver = Newton(rtol=1e-9, min_steps=1, max_steps=patience)
        layer = DEQ(ramp.layer.cell, solver=solver, on_failure="ignore")
        monkeypatch.setattr(arms, "build", lambda shape, job: nn.Sequential(layer, ramp.readout))
        return replace(
            SMOKE,
            log2_steepness=(d,),
            steps=4,
            check_every=2,
            learning_rates=(1e-15,),
            max_steps=patience,
            test_max_steps=patience,
        )

    return exact


def test_every_preset_has_the_published_steepness():
    assert EXPERIMENT.origin == "published"
    assert "Figure 4;" in EXPERIMENT.source
    assert list(EXPERIMENT.presets) == ["smoke", "quick", "full"]
    full = EXPERIMENT.presets["full"]
    assert full.log2_steepness == tuple(range(6, 21, 2))
    assert set(EXPERIMENT.presets["quick"].log2_steepness) < set(full.log2_steepness)
    assert len(full.seeds) >= 8
    for preset in EXPERIMENT.presets.values():
        assert preset.dtype == "float64"
        EXPERIMENT.check(preset)


def test_the_plan_is_the_deq_fnns_of_its_parameters_and_a_bound_for_each_depth():
    config = replace(SMOKE, seeds=(3, 5), depths=(1, 2))
    plan = [(job.arm, job.seed) for job in EXPERIMENT.plan(config, [])]
    trained = ["deq", "fnn-1-parameters", "fnn-2-parameters"]
    assert plan == [
        *((arm, seed) for arm in trained for seed in (3, 5)),
        ("bound-1", 3),
        ("bound-2", 3),
    ]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_bounds_of_the_ramp_are_those_of_theory(depth):
    config = replace(SMOKE, log2_steepness=(1, 7, 20), tolerance=0.2)
    job = Job(arm=f"bound-{depth}", seed=0, settings={"family": "bound", "depth": depth})
    *points, summary = run(job, config)
    assert [row["d"] for row in points] == [1, 7, 20]
    for row in points:
        assert row["norm"] == pytest.approx((0.6 * 2 ** row["d"]) ** (1 / (depth + 1)), rel=1e-12)
    assert summary["matching"] == "bound"


@pytest.mark.parametrize("curve", ["ramp", "rational"])
@pytest.mark.parametrize(("d", "tolerance"), [(0, 0.05), (3, 0.1), (3, 0.45), (20, 0.1), (20, 0.4)])
def test_bounds_are_the_steepest_that_any_run_gives(curve, d, tolerance):
    # ((g(w) - g(0)) - 2 eps) / w bounds the slope for every w, so the largest does.
    config = replace(SMOKE, curve=curve, tolerance=tolerance)
    w = 2.0 ** torch.linspace(-d - 8, 0, 100_001, dtype=torch.float64)
    g = {"ramp": steep.Ramp, "rational": steep.Rational}[curve](2.0**-d)(w)
    best = ((g - 2 * tolerance) / w).amax().item()
    # Between two points of the grid the bound is flat to second order; a ramp's peak is a corner.
    assert bound(config, d, 0) == pytest.approx(max(best, 0.0), rel=3e-4)
    assert bound(config, d, 2) == pytest.approx(max(best, 0.0) ** (1 / 3), rel=1e-4)


@pytest.mark.parametrize(
    ("measured", "reached"),
    [
        ({"error": 0.05}, True),  # an FNN
        ({"error": 0.1}, True),
        ({"error": 0.1000001}, False),
        ({"error": float("nan")}, False),
        ({"error": 0.05, "converged": 1.0}, True),
        ({"error": 0.05, "converged": 0.99}, True),
        ({"error": 0.05, "converged": 0.9899}, False),
        ({"error": 0.2, "converged": 1.0}, False),
    ],
)
def test_a_point_is_reached_within_the_tolerance_and_at_the_equilibrium(
    monkeypatch, measured, reached
):
    monkeypatch.setattr(steep_weights, "_tested", lambda *args: dict(measured))
    *points, summary = run(JOBS["fnn-1-parameters"])
    assert [row["d"] for row in points] == [1, 2]
    for row in points:
        assert row["reached"] is reached
        assert row["steps"] == (10 if reached else 20)
        assert row["norm"] == (row["norm_at_the_end"] if reached else None)
        assert row["norm_at_the_end"] > 0
    assert summary["reached"] == (2 if reached else 0)
    assert summary["converged"] == measured.get("converged")


def test_training_ends_at_the_first_look_that_finds_it(monkeypatch):
    errors = iter([0.5, 0.09, 0.5, 0.5])
    monkeypatch.setattr(steep_weights, "_tested", lambda *args: {"error": next(errors)})
    first, second, summary = run(JOBS["fnn-1-parameters"])
    assert (first["steps"], first["reached"]) == (20, True)
    assert (second["steps"], second["reached"]) == (20, False)
    assert summary["reached"] == 1


@pytest.mark.parametrize(
    ("errors", "tried"),
    [
        ([0.5, 0.5], [1, 2]),
        ([0.5, 0.05, 0.5, 0.5], [1, 2, 3, 4]),
        ([0.05, 0.5, 0.05, 0.5, 0.5], [1, 2, 3, 4, 5]),
        ([0.5, 0.05, 0.5, 0.05, 0.5, 0.5], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_after_two_misses_in_a_row_steeper_functions_are_left_out(monkeypatch, errors, tried):
    looks = iter(errors)
    monkeypatch.setattr(steep_weights, "_tested", lambda *args: {"error": next(looks)})
    config = replace(SMOKE, log2_steepness=(1, 2, 3, 4, 5, 6), steps=1)
    *points, summary = run(JOBS["fnn-1-parameters"], config)
    assert [row["d"] for row in points] == tried
    assert summary["reached"] == errors.count(0.05)


@pytest.mark.parametrize(
    ("errors", "kept", "steps"),
    [
        ([0.5, 0.09, 0.08], 0.02, 10),  # the fewest steps
        ([0.5, 0.5, 0.5, 0.09], 0.02, 20),  # the only one that gets there
        ([0.5, 0.3, 0.5, 0.4], 0.01, 20),  # none: the smaller error
        ([0.5, float("nan"), 0.5, 0.4], 0.02, 20),
        ([0.09, 0.5], 0.01, 10),  # the second cannot be faster any more
    ],
)
def test_of_the_learning_rates_the_first_to_get_there_counts(monkeypatch, errors, kept, steps):
    looks = iter(errors)
    monkeypatch.setattr(steep_weights, "_tested", lambda *args: {"error": next(looks)})
    config = replace(SMOKE, log2_steepness=(1,), learning_rates=(0.01, 0.02))
    point, _ = run(JOBS["fnn-1-parameters"], config)
    assert next(looks, None) is None
    assert (point["learning_rate"], point["steps"]) == (kept, steps)
    assert point["reached"] is (min(e for e in errors if e == e) <= 0.1)


def test_all_learning_rates_start_from_the_same_weights(built):
    torch.manual_seed(3)
    config = replace(SMOKE, learning_rates=(1e-12, 2e-12), steps=1)
    list(EXPERIMENT.run(config, JOBS["fnn-1-parameters"]))
    first, second, third, _ = (next(network.parameters()).detach() for network in built)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-10)
    assert (first - third).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("errors", "start", "rate"),
    [
        ([0.09, 0.5], 1, 0.01),
        ([0.5, 0.09], 1, 0.02),
        ([0.5, 0.5, 0.5, 0.09], 2, 0.02),
        ([0.5, 0.5, 0.5, 0.5, 0.09, 0.5], 3, 0.01),
        ([0.5, 0.4, 0.3, 0.5, 0.5, 0.5], 2, 0.01),  # none: the smallest error of all
    ],
)
def test_who_misses_starts_again(monkeypatch, built, errors, start, rate):
    looks = iter(errors)
    monkeypatch.setattr(steep_weights, "_tested", lambda *args: {"error": next(looks)})
    config = replace(
        SMOKE, log2_steepness=(1,), learning_rates=(0.01, 0.02), starts=3, steps=1, check_every=1
    )
    point, summary = run(JOBS["fnn-1-parameters"], config)
    assert next(looks, None) is None
    assert (point["start"], point["learning_rate"]) == (start, rate)
    assert point["reached"] is (min(errors) <= 0.1)
    assert summary["reached"] == point["reached"]
    first = [next(network.parameters()).detach() for network in built]
    for a, b in zip(first[::2], first[1::2], strict=True):
        assert (a - b).abs().max() < 0.1  # one step apart
    for a, b in zip(first[::2], first[2::2], strict=False):
        assert (a - b).abs().max() > 0.2


def test_the_last_step_is_looked_at_too(monkeypatch):
    monkeypatch.setattr(steep_weights, "_tested", lambda *args: {"error": 0.5})
    points = run(JOBS["fnn-1-parameters"], replace(SMOKE, steps=7, check_every=50))[:-1]
    assert [row["steps"] for row in points] == [7, 7]


@pytest.mark.parametrize("d", [2, 10])
def test_the_exact_ramp_is_reached_at_the_first_look_with_a_norm_of_two(exact, d):
    point, summary = run(JOBS["deq"], exact(d))
    assert point["reached"] is True
    assert point["steps"] == 2
    assert point["norm"] == pytest.approx(2, abs=1e-10)
    assert point["error"] < 1e-9
    assert point["converged"] == 1
    assert summary["reached"] == 1
    assert summary["converged"] == 1


def test_a_network_off_its_equilibrium_is_not_reached(exact):
    # Below the step z = 0 is the equilibrium, and the start; above it one evaluation is too few.
    config = exact(6, patience=1)
    point, summary = run(JOBS["deq"], config)
    assert 0.3 < point["converged"] < 0.7
    assert point["reached"] is False
    assert point["norm"] is None
    assert summary["reached"] == 0


def test_every_steepness_and_seed_starts_from_new_weights(monkeypatch):
    starts, build = [], arms.build

    def keep(shape, job):
        model = build(shape, job)
        starts.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        return model

    monkeypatch.setattr(arms, "build", keep)
    for seed in (0, 1):
        torch.manual_seed(seed)  # as the runner does for each job
        list(EXPERIMENT.run(SHORT, replace(JOBS["fnn-1-parameters"], seed=seed)))
    assert len({tuple(start.tolist()) for start in starts}) == len(starts) == 4


@pytest.mark.parametrize("arm", ["deq", "fnn-1-parameters"])
def test_norms_are_row_sums_of_the_trained_matrices(built, arm):
    points = run(JOBS[arm], SHORT)[:-1]
    assert len(built) == 2
    assert built[0] is not built[1]
    for row, model in zip(points, built, strict=True):
        if arm == "deq":
            cell = model[0].cell
            matrices = [cell.weight, cell.inject.weight, model[1].weight]
        else:
            matrices = [p for p in model.parameters() if p.ndim == 2]
            assert len(matrices) == 2
        norm = max(sum(abs(v) for v in line) for m in matrices for line in m.tolist())
        assert row["norm_at_the_end"] == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize("arm", ["deq", "fnn-1-parameters"])
def test_the_error_is_the_largest_over_the_same_test_points_for_all(built, arm):
    points = run(JOBS[arm], SHORT)[:-1]
    for row, model in zip(points, built, strict=True):
        delta = 2.0 ** -row["d"]
        x, y = steep.sample(
            SMOKE.test_samples,
            curve=steep.Ramp(delta),
            delta=delta,
            generator=torch.Generator().manual_seed(2**31 - 1),
            dtype=torch.float64,
        )
        with torch.no_grad():
            apart = (model(x) - y).abs()
        # Training solves as far as tests do here: Newton ends at rounding.
        assert row["error"] == pytest.approx(apart.max().item(), rel=1e-9)
        assert row["test_loss"] == pytest.approx(apart.square().mean().item(), rel=1e-9)
        assert ("residual" in row) == ("converged" in row) == (arm == "deq")


def test_charts_and_tables_name_fields_that_rows_have():
    rows = [row for job in JOBS.values() for row in run(job, SHORT)]
    points = [row for row in rows if row["kind"] == "point"]
    page = EXPERIMENT.page
    fields = [chart.x for chart in page.charts] + [chart.y for chart in page.charts]
    fields += [table.by for table in page.tables]
    fields += [column.field for table in page.tables for column in table.columns]
    assert {chart.rows for chart in page.charts} | {table.rows for table in page.tables} == {
        "point"
    }
    for field in fields:
        assert any(field in row for row in points), field


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["log2_steepness=8,6"], "log2_steepness needs one or more increasing numbers, got [8, 6]"),
        (["log2_steepness=6,6"], "log2_steepness needs one or more increasing numbers, got [6, 6]"),
        (["log2_steepness=6,51"], "delta must be at least 8.88e-16 in torch.float64"),
        (["log2_steepness=22", "dtype=float32"], "delta must be at least 4.77e-07"),
        (["curve=cubic"], "curve is one of ramp, rational; got 'cubic'"),
        (["tolerance=0.5"], "tolerance must be in (0, 1/2), got 0.5: from 1/2 on a constant"),
        (["tolerance=0"], "tolerance must be in (0, 1/2), got 0.0"),
        (["check_every=0"], "check_every must be at least 1, got 0"),
        (["starts=0"], "starts must be at least 1, got 0"),
        (["seeds=2147483647"], "seeds must be below 2147483646"),
    ],
)
def test_a_field_outside_its_domain_is_one_sentence(settings, sentence):
    with pytest.raises(UsageError) as refused:
        override(SteepWeightsConfig(), settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_budget_that_nothing_meets_is_refused():
    with pytest.raises(matching.BudgetError, match="no FNN of depth 40 comes within 25%"):
        EXPERIMENT.check(replace(SMOKE, depths=(40,)))
