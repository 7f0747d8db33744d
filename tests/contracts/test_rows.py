"""Rows of a batch are independent problems: what every solver owes each of them."""

from dataclasses import replace

import torch
from hypothesis import given

from deqlab import fixed_point
from tests.contracts.solvers import every_solver
from tests.problems import Contraction, contractions, matrix, normal

pytestmark = every_solver


def solve(problem, solver, **changes):
    changes = {"rtol": 1e-7, "max_steps": 2000} | changes
    return fixed_point(problem, problem.z0, solver=replace(solver, **changes), on_failure="ignore")


def row(problem, i):
    return Contraction(problem.w, problem.x[i : i + 1], problem.lipschitz)


@given(problem=contractions())
def test_a_row_alone_gets_the_answer_it_gets_in_a_batch(solver, problem):
    together = solve(problem, solver)
    for i in range(len(problem.x)):
        alone = solve(row(problem, i), solver)
        assert alone.status[0] == together.status[i]
        assert alone.steps[0] == together.steps[i]
        # One row is multiplied in another order than many: rounding, amplified by the solve.
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-10)


@given(problem=contractions())
def test_a_permutation_of_the_rows_permutes_the_answers(solver, problem):
    order = torch.randperm(len(problem.x), generator=torch.Generator().manual_seed(0))
    together = solve(problem, solver)
    permuted = solve(Contraction(problem.w, problem.x[order], problem.lipschitz), solver)
    assert torch.equal(permuted.status, together.status[order])
    assert torch.equal(permuted.steps, together.steps[order])
    torch.testing.assert_close(permuted.value, together.value[order], rtol=0, atol=1e-10)


def test_a_batch_of_easy_and_hard_rows_solves_each_as_if_alone(solver):
    # Row i contracts by its own rate, so that every row finishes at another step.
    rates = torch.tensor([0.0, 0.3, 0.9, -0.6, 0.6], dtype=torch.float64)[:, None]
    x = normal(5, 3, seed=0)
    w = matrix(3, norm=1.0, seed=1)

    def f(z, rates=rates, x=x):
        return rates * torch.sin(z @ w.T) + x

    tight = replace(solver, rtol=1e-9, max_steps=2000)
    together = fixed_point(f, torch.zeros_like(x), solver=tight)
    assert len(set(together.steps.tolist())) > 2
    for i in range(5):
        alone = fixed_point(f, torch.zeros(1, 3, dtype=x.dtype), rates[[i]], x[[i]], solver=tight)
        assert alone.steps[0] == together.steps[i]
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-11)


def test_a_solve_run_twice_gives_the_same_bits(solver):
    problem = Contraction(matrix(5, norm=0.9, seed=2), normal(3, 5, seed=3), 0.9)
    first, second = solve(problem, solver), solve(problem, solver)
    assert torch.equal(first.value, second.value)
    assert torch.equal(first.trace, second.trace)


def test_one_solver_serves_problems_of_different_shape_in_turn(solver):
    # A solver is a value: nothing of one solve is left for the next.
    small = Contraction(matrix(2, norm=0.9, seed=4), normal(3, 2, seed=5), 0.9)
    large = Contraction(matrix(6, norm=0.9, seed=6), normal(1, 6, seed=7), 0.9)
    first = solve(small, solver)
    solve(large, solver)
    assert torch.equal(solve(small, solver).value, first.value)
