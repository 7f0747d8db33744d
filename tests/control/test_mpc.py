"""Programs with bounds: an active-set solver, splitting, finite differences, the true condition."""

import time

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from deqlab import DEQ, Newton
from deqlab.control import BoxQPCell, box_mpc, box_qp, condense, lqr
from deqlab.solvers import Box, DouglasRachford, ForwardBackward, PeacemanRachford

CONDITION = 2000.0


def programs(count, size=20, *, condition=CONDITION, seed=0):
    """H of this condition and g for which about a third of the bounds at +-1 are active."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(
        torch.randn(count, size, size, generator=generator, dtype=torch.float64)
    )[0]
    values = torch.logspace(0, float(np.log10(condition)), size, dtype=torch.float64)
    g = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return (rotation * values) @ rotation.mT, 20 * g


def active_set(h, g, lower, upper):
    """The solution by Stark and Parker's bounded-variable least squares, of |L'u + L^-1 g|^2."""
    factor = np.linalg.cholesky(h)
    right = -np.linalg.solve(factor, g)
    return lsq_linear(factor.T, right, (lower, upper), method="bvls", tol=1e-14, max_iter=500).x


def by_active_set(h, g, lower=-1.0, upper=1.0):
    return torch.stack(
        [
            torch.from_numpy(active_set(one.numpy(), other.numpy(), lower, upper))
            for one, other in zip(h, g, strict=True)
        ]
    )


def test_rows_leave_with_their_programs_and_a_splitting_method_goes_on():
    h, g = programs(8)
    h[:5], g[:5] = torch.eye(20, dtype=h.dtype), 0.1 * g[:5]  # they end long before the others
    split = PeacemanRachford(rtol=1e-11, max_steps=2000, patience=500)
    for solver in (split, Newton(rtol=1e-11)):
        cell = BoxQPCell(Box(-1.0, 1.0))
        deq = DEQ(cell, solver=solver, rows_independent=True, on_failure="raise")
        torch.testing.assert_close(deq(h, g), by_active_set(h, g), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "solver",
    [
        None,
        PeacemanRachford(rtol=1e-11, max_steps=2000, patience=500),
        DouglasRachford(rtol=1e-11, max_steps=4000, patience=500),
    ],
    ids=["Newton", "PeacemanRachford", "DouglasRachford"],
)
def test_32_programs_of_condition_2000_are_those_of_an_active_set_method(solver):
    h, g = programs(32)
    found = box_qp(h, g, Box(-1.0, 1.0), solver=solver)
    assert found.converged.all()
    assert 0.2 < (found.value.abs() == 1).double().mean() < 0.8
    torch.testing.assert_close(found.value, by_active_set(h, g), rtol=0, atol=1e-7)


def test_gradients_at_condition_2000_are_those_of_the_active_set():
    h, g = programs(32)
    h.requires_grad_()
    g.requires_grad_()
    weights = torch.linspace(-1, 1, g.shape[1], dtype=torch.float64)
    began = time.process_time()  # of this process, whatever else the machine does
    value = box_qp(h, g, Box(-1.0, 1.0)).value
    (value @ weights).sum().backward()
    assert time.process_time() - began < 1
    # On the free inputs u = -H_ff^-1 (g_f + H_fa u_a), and bounds do not move.
    for i in range(len(g)):
        u = value[i].detach()
        free = u.abs() < 1
        moved = torch.zeros_like(u)
        moved[free] = torch.linalg.solve(h[i].detach()[free][:, free], weights[free])
        torch.testing.assert_close(g.grad[i], -moved, rtol=0, atol=1e-7)
        outer = -torch.outer(moved, u)
        torch.testing.assert_close(h.grad[i], (outer + outer.mT) / 2, rtol=0, atol=1e-7)


def test_bounds_receive_gradients():
    h, g = programs(1, 4, condition=10.0)
    g = g.abs()  # which pushes inputs down
    lower = torch.full((4,), -1.0, dtype=torch.float64, requires_grad=True)
    value = box_qp(h, g, Box(lower, 1.0)).value
    value.sum().backward()
    assert (value == -1).any()
    step = 1e-4
    for j in range(4):
        at = [-np.ones(4), -np.ones(4)]
        at[0][j] += step
        at[1][j] -= step
        up, down = (by_active_set(h, g, each, np.ones(4)).sum() for each in at)
        assert abs(float(lower.grad[j]) - float(up - down) / (2 * step)) < 1e-7


def test_forward_backward_takes_a_matrix_for_each_row():
    h, g = programs(3, 4, condition=5.0)
    solver = ForwardBackward(rtol=1e-10, max_steps=5000, patience=1000)
    found = box_qp(h, g, Box(-1.0, 1.0), solver=solver).value
    torch.testing.assert_close(found, by_active_set(h, g), rtol=0, atol=1e-7)


def test_the_cell_makes_a_layer():
    h, g = programs(3, 4)
    layer = DEQ(BoxQPCell(Box(-1.0, 1.0)), solver=Newton(rtol=1e-11))
    torch.testing.assert_close(layer(h, g), box_qp(h, g, Box(-1.0, 1.0)).value)
    assert layer.last.converged.all()


def plant(seed=0):
    """An unstable system of two inputs, its costs, and states to start from."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    a = drawn(4, 4)
    a = a * (1.1 / torch.linalg.eigvals(a).abs().max())
    return a, drawn(4, 2), torch.eye(4).double(), 0.1 * torch.eye(2).double(), drawn(32, 4)


def simulated_cost(a, b, q, r, terminal, x, inputs):
    """The cost of inputs, by simulating the system."""
    total = 0.0
    for u in inputs:
        total = total + x @ q @ x + u @ r @ u
        x = a @ x + b @ u
    return total + x @ terminal @ x


def test_the_program_is_the_cost_of_the_simulated_system():
    a, b, q, r, x0 = plant()
    terminal = 3 * q
    program = condense(a, b, q, r, x0[0], horizon=5, terminal=terminal)
    zero = simulated_cost(a, b, q, r, terminal, x0[0], torch.zeros(5, 2).double())
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        u = torch.randn(10, generator=generator, dtype=torch.float64)
        quadratic = u @ program.hessian @ u / 2 + program.linear @ u
        gold = simulated_cost(a, b, q, r, terminal, x0[0], u.view(5, 2))
        torch.testing.assert_close(zero + quadratic, gold, rtol=1e-12, atol=1e-12)


def test_plans_are_those_of_the_active_set_method_and_simulate_to_their_states():
    a, b, q, r, x0 = plant()
    plan = box_mpc(a, b, q, r, x0, Box(-0.5, 0.5), horizon=8)
    program = condense(a, b, q, r, x0, horizon=8)
    h = program.hessian.expand(32, 16, 16)
    gold = by_active_set(h, program.linear, -0.5, 0.5).view(32, 8, 2)
    torch.testing.assert_close(plan.inputs, gold, rtol=0, atol=1e-7)
    x = x0
    for t in range(8):
        x = x @ a.mT + plan.inputs[:, t] @ b.mT
        torch.testing.assert_close(plan.states[:, t], x, rtol=0, atol=1e-10)


def test_without_active_bounds_and_with_the_regulators_cost_it_is_the_regulator():
    a, b, q, r, x0 = plant()
    regulator = lqr(a, b, q, r)
    plan = box_mpc(a, b, q, r, x0, Box(-1e3, 1e3), horizon=6, terminal=regulator.cost)
    torch.testing.assert_close(plan.inputs[:, 0], -x0 @ regulator.gain.mT, rtol=0, atol=1e-8)


@pytest.mark.parametrize("part", range(5), ids=["A", "B", "Q", "R", "x0"])
def test_gradients_of_plans_are_finite_differences(part):
    given = [*plant()[:4], plant()[4][:1]]
    leaves = [each.clone().requires_grad_() for each in given]

    def first_inputs(matrices):
        return box_mpc(*matrices, Box(-0.5, 0.5), horizon=4).inputs

    inputs = first_inputs(leaves)
    assert 0 < (inputs.abs() == 0.5).sum() < inputs.numel()
    weights = torch.linspace(-1, 1, inputs.numel(), dtype=torch.float64).view_as(inputs)
    (weights * inputs).sum().backward()

    def loss(place, step):
        moved = [each.clone() for each in given]
        moved[part][place] += step / 2
        moved[part][place[::-1] if part in (2, 3) else place] += step / 2
        program = condense(*moved, horizon=4)
        found = by_active_set(program.hessian.expand(1, 8, 8), program.linear, -0.5, 0.5)
        return float((weights * found.view_as(weights)).sum())

    h = 1e-4
    for place in np.ndindex(*given[part].shape):
        gold = 8 * (loss(place, h) - loss(place, -h)) - loss(place, 2 * h) + loss(place, -2 * h)
        assert abs(float(leaves[part].grad[place]) - gold / (12 * h)) < 1e-7


def test_bad_programs_are_refused_in_a_sentence():
    h, g = programs(2, 4)
    with pytest.raises(ValueError, match="Box needs lower <= upper in every entry, got 1 of 1"):
        box_qp(h, g, Box(1.0, -1.0))
    with pytest.raises(ValueError, match=r"H must be positive definite.* in 1 of 2 programs"):
        box_qp(torch.stack([h[0], 0 * h[0]]), g, Box(-1.0, 1.0))
    a, b, q, r, x0 = plant()
    wrong = Box(torch.zeros(3).double(), 1.0)
    with pytest.raises(ValueError, match=r"lower must be a number, or have the shape \(2,\)"):
        box_mpc(a, b, q, r, x0, wrong, horizon=3)
    with pytest.raises(ValueError, match="R must be positive definite"):
        box_mpc(a, b, q, 0 * r, x0, Box(-1.0, 1.0), horizon=3)
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        box_mpc(a, b, q, r, x0, Box(-1.0, 1.0), horizon=0)
