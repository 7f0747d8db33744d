"""FNNs are matched to the DEQ as closely as whole widths allow."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import mse_loss

from deqlab.costs import flops, num_parameters
from deqlab.experiments.comparing import arms, matching

CONFIG = arms.ArmsConfig(width=10, depths=(1, 2, 5), batch_size=32)
SHAPE = arms.Shape(config=CONFIG, num_inputs=3, num_outputs=2)


def plan(rows=()):
    return matching.plan(SHAPE, mse_loss, torch.zeros(32, 2), rows)


def deq_summary(seed, flops_per_step):
    return {"kind": "summary", "arm": "deq", "seed": seed, "flops_per_step": flops_per_step}


def test_the_deq_has_the_parameters_of_the_formula():
    # W and V: m^2 + 3 m, one bias m; readout 2 m + 2.
    assert num_parameters(arms.deq(SHAPE)) == 100 + 30 + 10 + 20 + 2


@pytest.mark.parametrize("depth", CONFIG.depths)
def test_no_other_width_is_closer_in_parameters(depth):
    budget = num_parameters(arms.deq(SHAPE))
    (width,) = {j.settings["width"] for j in plan() if j.arm == f"fnn-{depth}-parameters"}

    def gap(w):
        return abs(num_parameters(arms.fnn(SHAPE, depth, w)) - budget)

    assert gap(width) == min(gap(w) for w in range(1, 60))


@pytest.mark.parametrize("depth", CONFIG.depths)
def test_the_measured_flops_of_a_matched_step_are_those_of_the_deq(depth):
    rows = [deq_summary(seed, 2_000_000 + seed) for seed in CONFIG.seeds]
    (width,) = {j.settings["width"] for j in plan(rows) if j.arm == f"fnn-{depth}-flops"}
    model = arms.fnn(SHAPE, depth, width)
    x, y = torch.randn(32, 3), torch.randn(32, 2)
    count, _ = flops(lambda: mse_loss(model(x), y).backward())
    # One unit of width more or less changes the count by at most 2 / width.
    assert count == pytest.approx(2_000_001, rel=1.5 / width)


def test_arms_of_equal_flops_wait_for_every_seed_of_the_deq():
    rows = [deq_summary(seed, 10**6) for seed in CONFIG.seeds]
    assert not any("flops" in job.arm for job in plan(rows[:-1]))
    assert sum("flops" in job.arm for job in plan(rows)) == 3 * len(CONFIG.depths)


def test_the_plan_is_the_same_whenever_it_is_made():
    rows = [deq_summary(seed, 10**6) for seed in CONFIG.seeds]
    assert plan(rows) == plan(rows)
    assert plan(rows)[: len(plan())] == plan()


def test_a_depth_that_no_width_matches_is_left_out():
    # Depth 40 at width 1 has more parameters than a DEQ of width 4; depth 1 can match it.
    small = arms.Shape(config=replace(CONFIG, width=4, depths=(1, 40)), num_inputs=3, num_outputs=2)
    names = {job.arm for job in matching.plan(small, mse_loss, torch.zeros(32, 2), [])}
    assert names == {"deq", "fnn-1-parameters"}


def test_a_budget_that_no_network_meets_is_one_sentence():
    small = arms.Shape(
        config=replace(CONFIG, width=1, depths=(20, 40)), num_inputs=1, num_outputs=1
    )
    matching.check(SHAPE)
    with pytest.raises(
        matching.BudgetError,
        match="no FNN of depth 20 or 40 comes within 25% of the DEQ's 5 parameters: the smallest "
        "has 42;",
    ):
        matching.check(small)


@pytest.mark.parametrize("solver", ["anderson", "picard", "newton"])
def test_a_test_has_more_patience_than_training(solver):
    impatient = replace(CONFIG, solver=solver, max_steps=2, rtol=1e-6)
    shape = arms.Shape(config=impatient, num_inputs=3, num_outputs=2)
    torch.manual_seed(0)
    model = arms.build(shape, matching.plan(shape, mse_loss, torch.zeros(32, 2), [])[0])
    x = torch.randn(16, 3)
    _, short = arms.forward(model, x)
    output, long = arms.forward(arms.solved_to_convergence(model, impatient), x)
    assert not short.converged.all()
    assert long.converged.all()
    assert torch.equal(output, model[1](long.value))


@pytest.mark.parametrize("solver", ["anderson", "picard", "newton"])
@pytest.mark.parametrize(("rtol", "test_rtol"), [(1e-1, 1e-12), (1e-12, 1e-1)])
def test_a_test_is_more_accurate_than_training(solver, rtol, test_rtol):
    rough = replace(CONFIG, solver=solver, rtol=rtol, test_rtol=test_rtol, dtype="float64")
    shape = arms.Shape(config=rough, num_inputs=3, num_outputs=2)
    torch.manual_seed(0)
    model = arms.build(shape, matching.plan(shape, mse_loss, torch.zeros(32, 2), [])[0])
    cell, x, z_star = model[0].cell, torch.randn(16, 3, dtype=torch.float64), torch.zeros(16, 10)
    for _ in range(200):
        z_star = cell(z_star.double(), x)
    exact = model[1](z_star)
    accurate, _ = arms.forward(arms.solved_to_convergence(model, rough), x)
    torch.testing.assert_close(accurate, exact, rtol=0, atol=1e-10)
    if solver != "newton" and rtol > test_rtol:  # the last step of Newton is exact
        assert (arms.forward(model, x)[0] - exact).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_have_the_dtype_that_is_asked_for(dtype):
    shape = arms.Shape(config=replace(CONFIG, dtype=dtype), num_inputs=3, num_outputs=2)
    for job in matching.plan(shape, mse_loss, torch.zeros(32, 2), []):
        found = {p.dtype for p in arms.build(shape, job).parameters()}
        assert found == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": -3}, "width must be at least 1, got -3"),
        ({"rtol": 0.0}, "rtol must be above 0"),
        ({"test_rtol": 0.0}, "test_rtol must be above 0"),
        ({"learning_rates": (float("nan"),)}, "learning_rates needs one or more different"),
        ({"learning_rates": (0.1, 0.1)}, "learning_rates needs one or more different"),
        ({"learning_rates": ()}, "learning_rates needs one or more different"),
        ({"dtype": "float16"}, "dtype is one of float32, float64; got 'float16'"),
        ({"max_steps": 60, "test_max_steps": 50}, "test_max_steps must be at least 60, got 50"),
        ({"depths": ()}, "depths needs one or more"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"seeds": ()}, "seeds needs at least one"),
        ({"activation": "gelu"}, "activation is one of relu, tanh; got 'gelu'"),
        ({"constraint": "no"}, "constraint is one of"),
        ({"solver": "secant"}, "solver is one of anderson, picard, newton; got 'secant'"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
    ],
)
def test_a_field_out_of_its_domain_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        arms.ArmsConfig(**changes)
