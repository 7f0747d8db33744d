"""Rows that f couples although they were said to be samples: no verdict is untrue at the end.

A row that converges is held still while others go on, and what it depends on moves. It must run
again, or must not be called converged. Gold as in `test_coupled_states`: plain iteration.
"""

from dataclasses import replace

import pytest
import torch

from deqlab import Auto, Picard, Status, fixed_point
from tests.contracts.solvers import calls_per_step, every_solver
from tests.contracts.test_coupled_states import PROBLEMS
from tests.problems import F64, normal, recompute

NAMES = ["flip", "graph", "batch norm", "attention"]
every_problem = pytest.mark.parametrize("problem", [PROBLEMS[name] for name in NAMES], ids=NAMES)


@every_solver
@every_problem
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_a_row_has_the_right_value_or_has_not_converged(solver, problem, rtol):
    solver = replace(solver, rtol=rtol, max_steps=300)
    solution = fixed_point(problem.f, problem.z0, problem.x, solver=solver, on_failure="ignore")
    f = lambda z: problem.f(z, problem.x)  # noqa: E731
    residual, tolerance = recompute(f, problem.z0, solution.value, solver)
    slack = 1 + 2e-5  # a residual that changes by less is not looked at again
    assert ((residual <= slack * tolerance).all(dim=1) | ~solution.converged).all()
    error = (solution.value - problem.value().reshape(problem.z0.shape)).flatten(1).norm(dim=1)
    # Each row has a residual of rtol |z|, and the sum of them is amplified by 1 / (1 - 0.9).
    allowed = 10 * rtol * solution.value.norm() * len(error) ** 0.5
    assert ((error <= allowed) | ~solution.converged).all()


def test_a_row_that_fails_takes_along_the_row_that_was_solved_beside_its_last_iterate():
    # Row 1 goes round 0, 1, 3 and is given up at 3; its best iterate is 0. Row 0 depends on it a
    # little: it converges beside 3, and f was never evaluated at the value until the end.
    def f(z):
        round_trip = torch.where(z[1:] < 0.5, 1.0, torch.where(z[1:] < 2, 3.0, 0.0))
        return torch.cat([0.95 * z[:1] + 1 + 1e-3 * z[1:], round_trip])

    z0, solver = torch.zeros(2, 1, dtype=F64), Picard(max_steps=300, patience=32)
    solution = fixed_point(f, z0, solver=solver, on_failure="ignore")
    assert solution.steps[0] > solution.steps[1]
    assert solution.value[1] == 0
    assert solution.status.tolist() == [Status.STAGNATED] * 2
    residual = (f(solution.value) - solution.value).abs()[:, 0]
    torch.testing.assert_close(solution.residual, residual)


def far_apart(z, x):
    """Rows that feed each other, one of them in units a thousand times as large."""
    return 0.5 * z + 0.45 * z.flip(0) + x


@every_solver
@pytest.mark.parametrize("max_steps", [2, 3, 7, 12])
def test_the_residual_is_that_of_the_value_where_all_rows_fail(solver, max_steps):
    # Their best iterates come from different steps, so that f was evaluated at no such state.
    x = normal(4, 3, seed=0)
    x[0] *= 1e3
    solver = replace(solver, rtol=1e-12, max_steps=max_steps)
    f = lambda z: far_apart(z, x)  # noqa: E731
    solution = fixed_point(f, torch.zeros_like(x), solver=solver, on_failure="ignore")
    calls = 2 if isinstance(solver, Auto) else calls_per_step(solver)  # it may go on by Newton
    assert solution.evaluations <= calls * max_steps + 1
    residual, tolerance = recompute(f, torch.zeros_like(x), solution.value, solver)
    allowed = {"rtol": 2e-5, "atol": 1e-12 * x.norm().item()}
    torch.testing.assert_close(solution.residual, residual[:, 0], **allowed)
    torch.testing.assert_close(solution.tolerance, tolerance[:, 0], rtol=1e-4, atol=0)


def test_the_residual_is_that_of_the_value_beside_a_row_that_is_not_finite():
    # Row 0 overflows at 40 and goes back to where it grew least; row 1 has seen all of it.
    def f(z):
        sick = torch.where(z[:1] < 40, 3 * z[:1] + 1, torch.inf)
        return torch.cat([sick, 0.5 * z[1:] + torch.tanh(z[:1])])

    z0 = torch.zeros(2, 1, dtype=F64)
    solution = fixed_point(f, z0, solver=Picard(), on_failure="ignore")
    assert solution.status.tolist() == [Status.NONFINITE, Status.STAGNATED]
    residual = (f(solution.value) - solution.value).abs()[:, 0]
    torch.testing.assert_close(solution.residual, residual)


def test_independent_rows_that_fail_at_the_same_best_iterate_are_not_evaluated_again():
    solution = fixed_point(
        lambda z: 3 - z, normal(3, 2, seed=0), solver=Picard(patience=7), on_failure="ignore"
    )
    assert solution.evaluations == solution.steps.max() == 8


def test_rows_that_are_independent_are_evaluated_once_a_step_and_held_as_they_were():
    # One slow row beside many that have converged: their f(z) is computed each time, and is theirs.
    rates = torch.tensor([0.1, 0.2, 0.95, 0.3], dtype=F64)[:, None]
    x, seen = normal(4, 3, seed=0), []

    def f(z):
        seen.append(z.clone())
        return rates * torch.tanh(z) + x

    with torch.no_grad():
        solution = fixed_point(f, torch.zeros_like(x), solver=Picard(rtol=1e-10, max_steps=500))
    assert solution.evaluations == len(seen) == solution.steps.max()
    for row, steps in enumerate(solution.steps.tolist()):
        assert all(torch.equal(z[row], solution.value[row]) for z in seen[steps - 1 :])


def test_a_block_at_rest_that_another_row_moves_gets_its_own_scale():
    # Row 0 is zero with a zero image: it has converged, until row 1 has come far enough.
    def f(z):
        return torch.cat([1e-6 * torch.relu(z[1:] - 1) + 0.5 * z[:1], 0.5 * z[1:] + 1])

    z0 = torch.zeros(2, 1, dtype=F64)
    solution = fixed_point(f, z0, solver=Picard(rtol=1e-8, max_steps=300))
    assert solution.status.tolist() == [Status.CONVERGED] * 2
    expected = torch.tensor([[2e-6], [2.0]], dtype=F64)
    torch.testing.assert_close(solution.value, expected, rtol=1e-6, atol=0)
