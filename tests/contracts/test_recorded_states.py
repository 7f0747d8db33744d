"""Solution.states: the iterates of the steps that were asked for, fit for a loss."""

from dataclasses import replace

import pytest
import torch

from deqlab import Picard, fixed_point
from tests.contracts.gradients import GRADIENTS, every_gradient, parameters
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

W, X = matrix(4, norm=0.8, seed=0), normal(3, 4, seed=1)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def test_states_are_the_iterates_in_the_order_asked_for():
    solver = Picard(record=(3, 1, 2), rtol=1e-10)
    states = fixed_point(cell, torch.zeros_like(X), W, X, solver=solver).states
    one = cell(torch.zeros_like(X), W, X)
    for state, expected in zip(states, (cell(one, W, X), 0 * X, one), strict=True):
        torch.testing.assert_close(state, expected, rtol=0, atol=0)
    torch.testing.assert_close(states[2], one)


@every_solver
def test_a_step_after_the_end_is_the_value(solver):
    solution = fixed_point(
        cell, torch.zeros_like(X), W, X, solver=replace(solver, record=(1, 100), max_steps=100)
    )
    assert torch.equal(solution.states[0], torch.zeros_like(X))
    assert torch.equal(solution.states[1], solution.value)


@every_gradient
def test_every_state_has_its_structure_and_reaches_the_parameters(case):
    w, x = W.clone().requires_grad_(), X.clone().requires_grad_()
    f = lambda s, w, x: {"a": cell(s["a"], w, x)}  # noqa: E731
    solution = fixed_point(
        f,
        {"a": torch.zeros(3, 4, dtype=F64)},
        w,
        x,
        solver=replace(case.solver, record=(3,)),
        gradient=case.gradient,
    )
    [state] = solution.states
    state["a"].sum().backward()
    assert (x.grad != 0).all()
    assert (w.grad != 0).any()


@pytest.mark.parametrize(
    "case", parameters({n: c for n, c in GRADIENTS.items() if n.startswith("Implicit")})
)
def test_a_state_carries_the_gradient_of_one_evaluation(case):
    x, u = X.clone().requires_grad_(), normal(3, 4, seed=2)
    solution = fixed_point(
        cell,
        torch.zeros_like(X),
        W,
        x,
        solver=replace(case.solver, record=(2,)),
        gradient=case.gradient,
    )
    [gradient] = torch.autograd.grad(solution.states[0], x, u)
    at = solution.states[0].detach()
    leaf = X.clone().requires_grad_()
    [expected] = torch.autograd.grad(cell(at, W, leaf), leaf, u)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)
