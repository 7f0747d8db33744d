"""Reversible: what only the coupled iteration does.

For z = wz + x, with z* = x / (1 - w), the errors of y and z are multiplied in each step by

    M = [[1 - b, b w], [b (1 - b) w, 1 - b + b^2 w^2]],

whose eigenvalues are the roots s of s^2 - (2 (1 - b) + b^2 w^2) s + (1 - b)^2 = 0.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Status, fixed_point
from deqlab.solvers import Picard
from deqlab.solvers.loop.criterion import Look
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.reversible import Reversible
from tests.problems import F64, contractions, matrix, normal, rotation

EXHAUSTED = {"rtol": 0.0, "atol": 0.0, "patience": 1000}  # takes all its steps


def plain_loop(f, z, damping, updates):
    """All pairs (y, z), by the two formulas."""
    y, pairs = z, [(z, z)]
    for _ in range(updates):
        y = (1 - damping) * y + damping * f(z)
        z = (1 - damping) * z + damping * f(y)
        pairs.append((y, z))
    return pairs


def step_matrix(w, b):
    return np.array([[1 - b, b * w], [b * (1 - b) * w, 1 - b + b**2 * w**2]])


@pytest.mark.parametrize("damping", [0.25, 0.5, 0.8, 1.0])
def test_the_iterates_are_those_of_the_plain_loop(damping):
    f = lambda z: torch.cos(z) + 1  # noqa: E731
    z0 = normal(3, 2, seed=0)
    solver = Reversible(damping=damping, max_steps=6, record=(1, 2, 3, 4, 5, 6), **EXHAUSTED)
    solution = fixed_point(f, z0, solver=solver, on_failure="ignore")
    expected = [z for _, z in plain_loop(f, z0, damping, 5)]
    # Rounding: torch.lerp writes the mean in another way.
    torch.testing.assert_close(list(solution.states), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("damping", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("w", [0.9, -0.5, 0.0])
def test_the_iterates_of_the_scalar_map_are_powers_of_the_step_matrix(w, damping):
    solver = Reversible(damping=damping, max_steps=8, record=tuple(range(1, 9)), **EXHAUSTED)
    z0, exact = torch.tensor([[3.0]], dtype=F64), 2 / (1 - w)
    solution = fixed_point(lambda z: w * z + 2, z0, solver=solver, on_failure="ignore")
    for k, state in enumerate(solution.states):
        error = np.linalg.matrix_power(step_matrix(w, damping), k) @ [3 - exact, 3 - exact]
        assert state.item() == pytest.approx(exact + error[1], rel=1e-13, abs=1e-13)


def test_undamped_a_step_is_two_of_picard_iteration():
    w, x = matrix(3, norm=0.9, seed=1), normal(2, 3, seed=2)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    solver = Reversible(damping=1.0, max_steps=5, record=(1, 2, 3, 4, 5), **EXHAUSTED)
    picard = Picard(max_steps=9, record=(1, 3, 5, 7, 9), **EXHAUSTED)
    values = [
        fixed_point(f, torch.zeros_like(x), solver=s, on_failure="ignore").states
        for s in (solver, picard)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))


@given(problem=contractions(), damping=st.floats(0.05, 1.0), steps=st.integers(1, 12))
def test_the_error_shrinks_as_fast_as_the_theorem_says(problem, damping, steps):
    # max(|y - z*|, |z - z*|) shrinks to at most 1 - b (1 - L) of itself in every step.
    solver = Reversible(damping=damping, max_steps=steps + 1, record=(steps + 1,), **EXHAUSTED)
    solution = fixed_point(problem, problem.z0, solver=solver, on_failure="ignore")
    exact = problem.exact()
    start = (problem.z0 - exact).norm(dim=1)
    error = (solution.states[0] - exact).norm(dim=1)
    factor = 1 - damping * (1 - problem.lipschitz)
    assert (error <= factor**steps * start + 1e-14).all()


@pytest.mark.parametrize("damping", [0.3, 0.5, 0.8])
def test_the_residual_shrinks_by_the_larger_root(damping):
    w = 0.8
    z0 = torch.tensor([[1.0]], dtype=F64)
    solver = Reversible(damping=damping, max_steps=60, **EXHAUSTED)
    trace = fixed_point(lambda z: w * z, z0, solver=solver, on_failure="ignore").trace[:, 0]
    root = max(abs(np.linalg.eigvals(step_matrix(w, damping))))
    assert (trace[50] / trace[40]) ** 0.1 == pytest.approx(root, rel=1e-6)


def test_a_quarter_turn_shrinks_by_one_minus_the_damping():
    # J has the eigenvalues +-0.8i: both roots have the modulus of sqrt((1 - b)^2).
    turn = rotation(torch.pi / 2, scale=0.8)
    solver = Reversible(damping=0.5, max_steps=60, **EXHAUSTED)
    z0 = normal(1, 2, seed=3)
    states = fixed_point(
        lambda z: z @ turn.T, z0, solver=replace(solver, record=(5, 45)), on_failure="ignore"
    ).states
    # The two roots turn against each other: between 1/4 and 4 times the geometric sequence.
    assert 0.25 < states[1].norm() / (0.5**40 * states[0].norm()) < 4


@pytest.mark.parametrize("damping", [0.2, 0.5, 0.8])
def test_a_step_can_be_taken_back(damping):
    w, x = matrix(4, norm=0.9, seed=4), normal(3, 4, seed=5)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    solver, counted = Reversible(damping=damping), CountedMap(f)
    z, memory = normal(3, 4, seed=6), solver.init(normal(3, 4, seed=7))
    look = Look(*(np.ones(3),) * 3, np.ones(3, dtype=bool), np.ones(3), *(np.ones((3, 1)),) * 2)
    iterate = Iterate(z, f(z), np.ones(3, dtype=bool), look)
    z_next, after = solver.step(counted, iterate, memory)
    z_back = (z_next - damping * f(after.y)) / (1 - damping)
    y_back = (after.y - damping * f(z_back)) / (1 - damping)
    torch.testing.assert_close((y_back, z_back), (memory.y, z), rtol=1e-13, atol=1e-13)


def test_a_step_evaluates_f_once_more_than_the_loop():
    calls = []
    f = lambda z: (calls.append(z), 0.5 * z + 1)[1]  # noqa: E731
    with torch.no_grad():
        solution = fixed_point(f, torch.zeros(2, 1, dtype=F64), solver=Reversible(rtol=1e-6))
    assert solution.evaluations == len(calls) == 2 * int(solution.steps.max()) - 1
    assert len(solution.trace) == solution.steps.max()


def test_a_finished_row_keeps_the_pair_that_it_ended_with():
    # Each row ends at another step, the third at once.
    rates = torch.tensor([[0.9], [0.3], [0.0], [-0.6]], dtype=F64)
    f = lambda z: rates * torch.sin(z) + (rates != 0)  # noqa: E731
    z0 = torch.zeros(4, 1, dtype=F64)
    solution, memory = Reversible(rtol=1e-8, max_steps=200).run(f, z0)
    assert len(set(solution.steps.tolist())) == 4
    for row, steps in enumerate(solution.steps.tolist()):
        y, z = plain_loop(f, z0, 0.5, steps - 1)[-1]
        torch.testing.assert_close(memory.y[row], y[row], rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(solution.matrix[row], z[row], rtol=1e-13, atol=1e-14)


def test_the_pair_of_the_value_is_known_wherever_a_row_ends():
    # z -> 2 sin 3z wanders: the best iterate is somewhere on the way.
    f = lambda z: 2 * torch.sin(3 * z)  # noqa: E731
    z0 = normal(12, 1, seed=8)
    solution, memory = Reversible(max_steps=15, **EXHAUSTED).run(f, z0)
    y, at = memory.beside(solution)
    assert torch.equal(at, solution.trace.argmin(dim=0) + 1)
    assert ((at > 1) & (at < 15)).sum() >= 3
    pairs = plain_loop(f, z0, 0.5, 15)
    for row in range(12):
        y_row, z_row = pairs[at[row] - 1]
        # Chaos: rounding grows by up to 6 in each evaluation.
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(y[row], y_row[row], **close)
        torch.testing.assert_close(solution.matrix[row], z_row[row], **close)


def test_a_row_that_converges_without_a_new_minimum_is_known_by_its_last_pair():
    # min_steps keeps the rows going, the first where it is: its value is of iteration 4 too.
    f = lambda z: 0.5 * z + 1  # noqa: E731
    z0 = torch.tensor([[2.0], [2.0 + 1e-7], [1.0]], dtype=F64)
    solution, memory = Reversible(rtol=1e-5, min_steps=4).run(f, z0)
    y, at = memory.beside(solution)
    assert at.tolist() == solution.steps.tolist() == [4, 4, int(solution.steps[2])]
    pairs = plain_loop(f, z0, 0.5, 60)
    for row, k in enumerate(at.tolist()):
        torch.testing.assert_close(y[row], pairs[k - 1][0][row], rtol=1e-14, atol=0)


def test_a_row_that_is_not_finite_ends_with_the_pair_it_started_with():
    f = lambda z: z + torch.nan  # noqa: E731
    z0 = torch.ones(1, 1, dtype=F64)
    solution, memory = Reversible().run(f, z0)
    assert solution.status.tolist() == [Status.NONFINITE]
    y, at = memory.beside(solution)
    assert torch.equal(y, z0)
    assert at.tolist() == [1]


def test_the_pair_of_every_so_many_steps_is_kept_and_that_of_a_finished_row_stands_still():
    rates = torch.tensor([[0.9], [0.1]], dtype=F64)
    f = lambda z: rates * z + 1  # noqa: E731
    z0 = torch.zeros(2, 1, dtype=F64)
    solution, memory = Reversible(rtol=1e-4, keep_every=8).run(f, z0)
    long, short = (solution.steps - 1).tolist()
    assert 8 < short <= 16 < long
    assert len(memory.kept) == (long - 1) // 8
    pairs = plain_loop(f, z0, 0.5, long)
    for i, kept in enumerate(memory.kept):
        for row, ended in enumerate((long, short)):
            for state, expected in zip(kept, pairs[min(8 * (i + 1), ended)], strict=True):
                torch.testing.assert_close(state[row], expected[row], rtol=1e-13, atol=0)


def test_rows_that_leave_take_their_part_of_the_kept_pairs_along():
    rates = torch.tensor([[0.9], [0.1], [0.1]], dtype=F64)
    narrow = lambda rows: lambda z: rates[rows] * z + 1  # noqa: E731
    every, z0 = torch.arange(3), torch.zeros(3, 1, dtype=F64)
    solver = Reversible(rtol=1e-6, max_steps=400, keep_every=4)
    solution, memory = solver.run(narrow(every), z0, narrow=narrow)
    assert solution.converged.all()
    assert {len(state) for pair in memory.kept for state in pair} == {1}
    y, z = plain_loop(narrow(every), z0, 0.5, 4)[-1]
    torch.testing.assert_close(memory.kept[0], (y[:1], z[:1]), rtol=1e-13, atol=0)


def test_no_pair_is_kept_unless_that_is_asked_for():
    f = lambda z: 0.9 * torch.sin(z) + 1  # noqa: E731
    _, memory = Reversible(rtol=1e-8).run(f, torch.zeros(2, 1, dtype=F64))
    assert memory.kept == ()


@pytest.mark.parametrize("keep_every", [0, -3])
def test_pairs_are_kept_every_step_at_most(keep_every):
    with pytest.raises(
        ValueError, match=f"keep_every must be at least 1, or None, got {keep_every}"
    ):
        Reversible(keep_every=keep_every)


@pytest.mark.parametrize("damping", [0.0, -0.5, 1.1, float("nan")])
def test_a_damping_outside_its_domain_is_refused(damping):
    with pytest.raises(ValueError, match=r"damping must be in \(0, 1\]"):
        Reversible(damping=damping)
