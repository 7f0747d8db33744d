"""The tape of an implicit gradient is that of the evaluation which ended the solve."""

import pytest
import torch

from deqlab import Anderson, Auto, Broyden, Picard, Status, fixed_point
from deqlab.gradients import Implicit, JacobianFree, Phantom
from tests.problems import F64, matrix, normal

SOLVERS = [Picard(), Anderson(), Auto(), Picard(damping=0.8), Broyden()]
GRADIENTS = [
    Implicit(),
    Implicit(accuracy=1e-5),
    Phantom(steps=3),
    JacobianFree(),
]


class Calls:
    """A map that counts its evaluations, and those that a tape records."""

    def __init__(self, f):
        self.f, self.all, self.taped = f, 0, 0

    def __call__(self, z, *args):
        self.all += 1
        self.taped += torch.is_grad_enabled()
        return self.f(z, *args)


def tanh_cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def step(f, *, solver, gradient, rows=6):
    """Return the solution and the gradients of one training step."""
    w = matrix(16, norm=0.8, seed=0).requires_grad_()
    x = (0.3 * normal(rows, 16, seed=1)).requires_grad_()
    start = torch.zeros(rows, 16, dtype=F64)
    solution = fixed_point(f, start, w, x, solver=solver, gradient=gradient, on_failure="ignore")
    forward = f.all if isinstance(f, Calls) else None
    return solution, forward, torch.autograd.grad(solution.value.sum(), (w, x))


@pytest.mark.parametrize("gradient", GRADIENTS, ids=repr)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_the_evaluation_that_ends_the_solve_is_the_one_on_the_tape(solver, gradient):
    f = Calls(tanh_cell)
    solution, forward, _ = step(f, solver=solver, gradient=gradient)
    assert bool(solution.converged.all())
    # A superlinear method may be surprised by its own last step.
    assert forward - solution.evaluations <= isinstance(solver, Broyden)
    assert 1 <= f.taped <= 4  # the others left no tape


def test_a_surprising_end_costs_one_evaluation_more_and_changes_nothing():
    gradient = Implicit()
    f = Calls(lambda z, w, x: 0 * (z @ w.T) + x)  # the second iterate is the answer
    solution, forward, (_, dx) = step(f, solver=Picard(), gradient=gradient)
    assert (solution.evaluations, forward) == (2, 3)
    assert torch.equal(dx, torch.ones_like(dx))


def test_the_gradient_is_the_one_of_a_tape_recorded_afterwards(monkeypatch):
    with_it = step(tanh_cell, solver=Anderson(), gradient=Implicit())[2]
    monkeypatch.setattr("deqlab.gradients.tape.LastTape.at", lambda self, z: None)
    without = step(tanh_cell, solver=Anderson(), gradient=Implicit())[2]
    for one, other in zip(with_it, without, strict=True):
        assert torch.equal(one, other)


def test_rows_that_return_an_earlier_iterate_are_differentiated_there():
    """Row 0 has no fixed point: its best iterate is not the last, whose tape must not serve."""

    def f(z, w, x):
        drift = torch.zeros_like(z)
        drift[0] = 1.0 + z[0] ** 2
        return torch.tanh(z @ w.T + x) + drift

    solution, _, gradients = step(f, solver=Picard(max_steps=40), gradient=JacobianFree(), rows=3)
    assert solution.status.tolist() == [Status.DIVERGED, Status.CONVERGED, Status.CONVERGED]
    w = matrix(16, norm=0.8, seed=0).requires_grad_()
    x = (0.3 * normal(3, 16, seed=1)).requires_grad_()
    there = f(solution.value.detach(), w, x)
    for got, expected in zip(gradients, torch.autograd.grad(there.sum(), (w, x)), strict=True):
        torch.testing.assert_close(got, expected)


def test_no_tape_is_recorded_without_grad_mode():
    f = Calls(tanh_cell)
    with torch.no_grad():
        fixed_point(f, torch.zeros(2, 16, dtype=F64), matrix(16, norm=0.8, seed=0), 0.3)
    assert f.taped == 0


def test_rows_that_leave_the_batch_take_the_tape_with_them():
    w = matrix(16, norm=0.97, seed=0).requires_grad_()
    x = normal(8, 16, seed=1)
    x[:7] *= 1e-3
    x.requires_grad_()
    start = torch.zeros(8, 16, dtype=F64)
    options = {"solver": Picard(max_steps=2000), "gradient": Implicit()}
    apart = fixed_point(tanh_cell, start, w, x, rows_independent=(False, True), **options)
    together = fixed_point(tanh_cell, start, w, x, **options)
    for one, other in zip(
        torch.autograd.grad(apart.value.sum(), (w, x)),
        torch.autograd.grad(together.value.sum(), (w, x)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
