"""Control: experts by other routes, controllers that are right, observers, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from scipy.optimize import minimize

from deqlab.experiments.base import PROGRESS
from deqlab.recipes import RECIPES
from deqlab.recipes.control import box_mpc, expert, lqr, observer, pendulum
from deqlab.recipes.control.imitation import Plain
from deqlab.recipes.control.observer_task import ObserverTask
from deqlab.recipes.control.observers import Contracting, Free, Gated, Observer
from deqlab.recipes.control.systems import LEAST, system_of
from deqlab.stability import certify
from deqlab.tasks import pendulum as dynamics
from deqlab.tasks import spring_box

LQR, BOX, PENDULUM, OBSERVER = (
    RECIPES[name].presets["smoke"] for name in ("lqr", "box-mpc", "pendulum", "observer")
)


def factor(cost):
    """L of a drawn cost L L' / k + LEAST I."""
    size = cost.shape[-1]
    return torch.linalg.cholesky(size * (cost - LEAST * torch.eye(size).double()))


def test_the_regulators_that_are_shown_are_scipys_and_noise_is_of_their_size():
    task = lqr.LqrTask(replace(LQR, demonstrations=4000))
    system = task.system
    for i in range(LQR.systems):
        a, b, q, r = (each[i].numpy() for each in (system.a, system.b, system.q, system.r))
        p = solve_discrete_are(a, b, q, r)
        k = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        np.testing.assert_allclose(task.gain[i], k, atol=1e-8)
        np.testing.assert_allclose(task.test.u[i], -task.test.x[i].numpy() @ k.T, atol=1e-7)
        assert abs(np.linalg.eigvals(a)).max() == pytest.approx(LQR.radius)
    off = task.train.errors(-task.train.x @ task.gain.mT)
    torch.testing.assert_close(off, torch.full_like(off, LQR.noise), rtol=0.05, atol=0)


def test_what_is_right_imitates_and_its_errors_are_those_of_its_gain():
    task = lqr.LqrTask(LQR)
    torch.manual_seed(0)
    for costs in (False, True):
        model = lqr.Learned(task.system, costs=costs)
        right = (task.system.a, task.system.b)
        if costs:
            right = (factor(task.system.q), factor(task.system.r))
        with torch.no_grad():
            model.first.copy_(right[0])
            model.second.copy_(right[1])
        row = task.tested(model)
        assert row["imitation_error"] < 1e-8
        assert row["gain_error"] < 1e-8
        assert row["stable"] == row["converged"] == 1
    plain = Plain(LQR.systems, 4, 4, 2, linear=True)
    with torch.no_grad():
        plain.first.copy_(torch.eye(4))
        plain.second.copy_(-1.1 * task.gain)
    row = task.tested(plain)
    assert row["imitation_error"] == pytest.approx(0.1)
    assert row["gain_error"] == pytest.approx(0.1)
    loops = (task.system.a - 1.1 * task.system.b @ task.gain).numpy()
    assert row["radius"] == pytest.approx(abs(np.linalg.eigvals(loops)).max())


def test_learned_costs_stabilise_the_true_system_whatever_they_are():
    system = system_of(replace(LQR, systems=20))
    model = lqr.Learned(system, costs=True)
    for scale in (0.1, 1.0, 10.0):
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(scale * torch.randn_like(parameter))
            radius = torch.linalg.eigvals(system.a - system.b @ model.gain()).abs().amax(dim=1)
        assert (radius < 1).all()


def test_the_true_system_plans_as_the_expert_within_bounds():
    task = box_mpc.BoxTask(BOX)
    model = box_mpc.LearnedSystem(BOX)
    with torch.no_grad():
        model.a.copy_(task.system.a)
        model.b.copy_(task.system.b)
    row = task.tested(model)
    assert row["imitation_error"] < 1e-7
    assert row["system_error"] == 0
    assert 0.05 < row["bounded"] < 0.95
    plain = box_mpc.plain(BOX, None)
    with torch.no_grad():
        plain.second.mul_(100)
    assert plain(task.test.x).abs().max().item() == BOX.upper
    assert "system_error" not in task.tested(plain)


def test_the_pendulum_is_linearised_by_its_derivatives():
    x = torch.tensor([0.7, -1.3], dtype=torch.float64)
    u = torch.tensor(0.4, dtype=torch.float64)
    a, b = dynamics.linearised(x)
    gold = torch.autograd.functional.jacobian(dynamics.step, (x, u))
    torch.testing.assert_close(a, gold[0])
    torch.testing.assert_close(b[:, 0], gold[1])


def test_the_plans_of_the_expert_are_those_of_an_optimiser_that_only_simulates():
    generator = torch.Generator().manual_seed(0)
    starts = dynamics.starts(5, torque=2.0, angle=0.6, generator=generator)
    states, torques = expert.plans(starts, 12, torque=2.0)
    p = expert.upright()
    assert (torques.abs() == 2.0).any(dim=1).sum() >= 2

    def cost(u, i):
        leaf = torch.from_numpy(u)[None].requires_grad_()
        total = expert.total(starts[i : i + 1], leaf, p)
        total.sum().backward()
        return total.item(), leaf.grad[0].numpy()

    for i in range(5):
        options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-8}
        gold = minimize(
            cost, np.zeros(12), i, "L-BFGS-B", jac=True, bounds=[(-2, 2)] * 12, options=options
        )
        assert cost(torques[i].numpy(), i)[0] <= gold.fun + 1e-9
        np.testing.assert_allclose(torques[i], gold.x, atol=2e-4)  # flat: costs agree to 1e-9
    torch.testing.assert_close(states[:, 0], starts)


def test_an_expert_in_the_loop_costs_what_its_plans_do():
    task = pendulum.PendulumTask(PENDULUM)
    states, torques = pendulum.demonstrations(PENDULUM)
    own = dynamics.simulated(states[-PENDULUM.test_size :, 0], torques[-PENDULUM.test_size :])[1]
    torch.testing.assert_close(task._driven(None), own)
    still = task.tested(Plain(1, 2, 3, 1, bounds=(0.0, 0.0)))
    assert still["cost_ratio"] > 1
    assert still["imitation_error"] == pytest.approx(1)


def test_the_box_moves_by_eulers_rule():
    generator = torch.Generator().manual_seed(0)
    (path,) = spring_box.trajectories(1, 300, reach=0.5, generator=generator)
    q, v = path[0].tolist()
    for _ in range(300):
        q, v = q + 0.01 * v, v + 0.01 * (-5 * q - 0.5 * v * abs(v))
    torch.testing.assert_close(path[-1], torch.tensor([q, v]), rtol=0, atol=1e-5)


class Right(Observer):
    """Knows all, and is off by a hundredth in one trajectory."""

    def __init__(self, states):
        super().__init__()
        self.states = states

    def forward(self, y):
        found = self.states[:, 1:].clone()
        found[2, -1, 0] += 0.01
        found[3, 0, 0] += 5.0  # before it has settled
        return found

    def predicted(self, x, y):
        return spring_box.step(x)


def test_errors_count_once_settled_and_the_worst_start_decides():
    task = ObserverTask(OBSERVER)
    model = Right(task._test)
    row = task.tested(model)
    assert row["error"] == pytest.approx(0.01, rel=1e-3)
    assert row["median_error"] == 0
    batch = next(iter(task.batches(torch.Generator().manual_seed(0))))
    assert float(task.loss(model, batch)) < 1e-6
    starts = [each["error"] for each in task.examined(model) if each["kind"] == "start"]
    assert len(starts) == OBSERVER.test_size
    assert max(starts) == row["error"]


def test_observers_begin_at_the_kalman_filter_of_least_squares():
    task = ObserverTask(OBSERVER)
    before, after = (
        part.reshape(-1, 2).numpy() for part in (task._train[:, :-1], task._train[:, 1:])
    )
    m = np.linalg.lstsq(before, after, rcond=None)[0].T
    c, noise = np.array([[1.0, 0.0]]), (OBSERVER.bandwidth**2 * spring_box.DT) ** -2
    p = solve_discrete_are(m.T, c.T, np.diag([0.0, 1.0]), [[noise]])
    k = m @ p @ c.T / (c @ p @ c.T + noise)
    np.testing.assert_allclose(task.data.gain, k, rtol=1e-6)
    poles = np.log(np.linalg.eigvals(m - k @ c) + 0j) / spring_box.DT
    np.testing.assert_allclose(abs(poles), OBSERVER.bandwidth, rtol=0.05)
    y = torch.randn(3, 4, 1, dtype=torch.float64)
    x = torch.zeros(3, 2, dtype=torch.float64)
    for t in range(4):
        x = x @ torch.from_numpy(m - k @ c).T + y[:, t] @ torch.from_numpy(k).T
    for make in (observer.deq, observer.free):
        torch.testing.assert_close(make(OBSERVER, task.data)(y)[:, -1], x, rtol=1e-6, atol=1e-8)


def test_lbfgs_is_given_one_batch_and_adam_others():
    for optimizer, same in (("lbfgs", True), ("adam", False)):
        task = ObserverTask(replace(OBSERVER, optimizer=optimizer, steps=2))
        first, second = task.batches(torch.Generator().manual_seed(0))
        assert torch.equal(first, second) == same
        assert first.dtype == (torch.float64 if same else torch.float32)


def test_observers_step_as_they_learn_to():
    torch.manual_seed(0)
    y = torch.randn(3, 6, 1)
    for model in (Contracting(4, 0.9, 200), Free(4)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            estimates = model(y)
            before = torch.cat([torch.zeros(3, 1, 2), estimates[:, :-1]], dim=1)
            torch.testing.assert_close(model.predicted(before, y), estimates, rtol=1e-3, atol=1e-4)
    assert Gated(4).predicted(torch.zeros(3, 6, 2), y).shape == (3, 3, 2)


def rows(error, holds=True, converged=1.0):
    deq = {"arm": "deq", "seed": 0}
    proved = {"kind": "certificate", "holds": holds, "margin": 0.1}
    summary = {"kind": "summary", "label": "DEQ", "matching": None, "error": error}
    return [
        {**deq, **proved},
        {**deq, "kind": "start", "error": error},
        {**deq, **summary, "converged": converged, "test_evaluations": 9.0, "slips": 0},
    ]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (rows(9e-4), "holds"),
        (rows(2e-3), "holds partly"),
        (rows(9e-4, holds=False), "holds partly"),
        (rows(2e-3, holds=False), "does not hold here"),
        (rows(9e-4, converged=0.9), "undecided"),
    ],
)
def test_the_verdict_on_an_observer_asks_for_errors_and_for_proof(found, outcome):
    assert RECIPES["observer"].judge(OBSERVER, found).outcome == outcome


OWN = {"systems": 1, "num_states": 2, "num_inputs": 1, "a": (1.2, 0.0, 0.0, 0.5), "b": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("lqr", OWN, r"system 0 is not stabilisable.*the eigenvalue 1\.2,"),
        ("lqr", OWN | {"b": (1.0,)}, r"a needs 2 x 2 numbers and b 2 x 1 .* got 4 and 1"),
        ("lqr", OWN | {"systems": 2}, "systems must be 1 where a and b are given"),
        ("lqr", {"a": (1.0,)}, "needs both of a and b"),
        ("lqr", {"rate": 0.5}, "no knob to control"),
        ("box-mpc", {"lower": 1.0, "upper": -1.0}, "no input is within the bounds.* 1 and -1"),
        ("box-mpc", {"horizon": 0}, "horizon must be at least 1"),
        ("pendulum", {"torque": -1.0}, "no input is within the bounds"),
        ("pendulum", {"steps_shown": 20}, "steps_shown must be below plan = 20"),
        ("observer", {"contraction": 1.5}, r"contraction must be above 0, and at most 1, got 1\.5"),
        ("observer", {"clip": 1.0}, "clip and weight_decay are of optimizer=adam"),
        ("observer", {"start": "zero"}, "start is one of linear, random; got 'zero'"),
        ("observer", {"settled": 9.0}, r"settled must be below test_seconds = 0\.6"),
    ],
)
def test_what_cannot_run_is_refused_in_a_sentence(name, settings, named):
    recipe = RECIPES[name]
    with pytest.raises(ValueError, match=named):
        recipe.check(replace(recipe.presets["smoke"], **settings))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lqr", "box-mpc", "pendulum", "observer"])
def test_smoke_runs_have_their_rows(name):
    recipe = RECIPES[name]
    config, found = recipe.presets["smoke"], []
    while todo := [
        job for job in recipe.plan(config, found) if job.arm not in {row["arm"] for row in found}
    ]:
        for job in todo:
            torch.manual_seed(0)
            found += [
                {"arm": job.arm, "seed": 0, **row}
                for row in recipe.run(config, job)
                if row["kind"] != PROGRESS
            ]
    summaries = {row["arm"]: row for row in found if row["kind"] == "summary"}
    assert summaries.keys() == recipe.arms.keys()
    for arm, row in summaries.items():
        assert row[recipe.metric.field] >= 0
        assert ("converged" in row) == arm.startswith("deq")
        assert row.get("converged", 1) >= 0.99
    flops = summaries["twin-flops"]["flops_per_step"]
    assert flops == pytest.approx(summaries["deq"]["flops_per_step"], rel=0.1)
    parameters = summaries["twin-parameters"]["parameters"]
    assert parameters == pytest.approx(summaries["deq"]["parameters"], rel=0.25)
    assert recipe.judge(config, found).outcome != "undecided"


def test_contraction_is_proved_of_the_observer_as_it_is_made():
    torch.manual_seed(0)
    (proved,) = certify(observer.deq(OBSERVER, None)).values()
    assert proved.rate == OBSERVER.contraction
