"""What every solver says where there is nothing to find, or where f breaks down."""

from dataclasses import replace

import pytest
import torch

from deqlab import Status, fixed_point
from tests.contracts.solvers import calls_per_step, every_solver
from tests.problems import F64, assert_verdicts_hold, normal, recompute

pytestmark = every_solver

# Rows of one problem: two that contract, in a few steps more than two, and between them one that
# the test chooses.
HEALTHY = torch.tensor([1.0, 0.0, -3.0], dtype=F64)[:, None]
SICK = 1


def solve(f, z0, solver, **changes):
    return fixed_point(f, z0, solver=replace(solver, **changes), on_failure="ignore")


def beside_healthy_rows(sick):
    """z -> sin(z) / 2 + x in rows 0 and 2, `sick` in row 1."""

    def f(z):
        healthy = 0.5 * z.sin() + HEALTHY
        return torch.cat([healthy[:1], sick(z[1:2]), healthy[2:]])

    return f


def assert_healthy_rows_are_those_of(solution, reference):
    """Bit for bit: a failed row must not enter any sum with the others."""
    for row in (0, 2):
        assert solution.status[row] == Status.CONVERGED
        assert solution.steps[row] == reference.steps[row]
        assert torch.equal(solution.value[row], reference.value[row])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("dim", [1, 3])
def test_a_map_without_fixed_point_is_never_called_converged(solver, dim, dtype):
    # 100 generic starts: in floating point z + 1 = z once an extrapolated z reaches 1e16.
    z0 = normal(100, dim, seed=0).to(dtype)
    solution = solve(lambda z: z + 1, z0, solver, max_steps=100)
    assert not solution.converged.any()
    assert solution.value.isfinite().all()
    assert set(solution.status.tolist()) <= {
        Status.MAX_STEPS,
        Status.STAGNATED,
        Status.DIVERGED,
    }


@pytest.mark.parametrize("rate", [1.5, 2.0, 1e3])
def test_a_repelling_fixed_point_is_found_or_the_row_has_failed(solver, rate):
    z0 = normal(5, 1, seed=1)
    f = lambda z: rate * z + 1  # noqa: E731
    solution = solve(f, z0, solver, rtol=1e-8)
    right = (solution.value - 1 / (1 - rate)).abs().squeeze(1) < 1e-6
    assert (right | ~solution.converged).all()
    assert_verdicts_hold(solution, f, z0, replace(solver, rtol=1e-8))


def test_a_two_cycle_is_solved_or_the_row_has_failed(solver):
    z0 = normal(5, 2, seed=2)
    solution = solve(lambda z: 3 - z, z0, solver, rtol=1e-8)
    right = (solution.value - 1.5).norm(dim=1) < 1e-6
    assert (right | ~solution.converged).all()


def test_nan_at_once_leaves_the_row_at_its_start_and_the_others_alone(solver):
    z0 = torch.full((3, 1), 0.25, dtype=F64)
    solution = solve(beside_healthy_rows(lambda z: z + torch.nan), z0, solver)
    reference = solve(beside_healthy_rows(lambda z: 0.5 * z), z0, solver)
    assert solution.status[SICK] == Status.NONFINITE
    assert solution.steps[SICK] == 1
    assert solution.value[SICK] == 0.25
    assert not solution.residual[SICK].isfinite()
    assert_healthy_rows_are_those_of(solution, reference)


def test_inf_in_one_row_only_spoils_that_row_only(solver):
    z0 = torch.zeros(3, 1, dtype=F64)
    solution = solve(beside_healthy_rows(lambda z: z + torch.inf), z0, solver)
    reference = solve(beside_healthy_rows(lambda z: 0.5 * z), z0, solver)
    assert solution.status[SICK] == Status.NONFINITE
    assert solution.value[SICK] == 0
    assert_healthy_rows_are_those_of(solution, reference)


def test_nan_midway_leaves_the_row_at_its_best_iterate(solver):
    # The sick row contracts towards 16 from 0, and its map ends at 10.
    sick = lambda z: torch.where(z < 10, 0.5 * z + 8, torch.nan)  # noqa: E731
    z0 = torch.zeros(3, 1, dtype=F64)
    solution = solve(beside_healthy_rows(sick), z0, solver)
    reference = solve(beside_healthy_rows(lambda z: 0.5 * z), z0, solver)
    assert solution.status[SICK] == Status.NONFINITE
    assert 1 < solution.steps[SICK] < solution.evaluations
    assert 0 <= solution.value[SICK] < 10
    residual, _ = recompute(beside_healthy_rows(sick), z0, solution.value, solver)
    torch.testing.assert_close(solution.residual, residual[:, 0], rtol=1e-12, atol=1e-12)
    assert_healthy_rows_are_those_of(solution, reference)


def test_a_frozen_row_stands_still_in_the_trace(solver):
    seen = []

    def f(z):
        seen.append(z[SICK].clone())
        return beside_healthy_rows(lambda z: torch.where(z < 10, 0.5 * z + 8, torch.nan))(z)

    with torch.no_grad():
        solution = solve(f, torch.zeros(3, 1, dtype=F64), solver)
    end = next(i for i, z in enumerate(seen) if z >= 10)
    assert solution.steps[SICK] <= end + 1 < len(seen)
    # At the end f is evaluated at the value, in which the row is back at its best iterate.
    assert torch.equal(seen.pop(), solution.value[SICK])
    # Where it was evaluated last; of a method with two states, at both of them.
    held = [z.nan_to_num() for z in seen[end:]]
    later = held[calls_per_step(solver) :]
    assert all(torch.equal(a, b) for a, b in zip(held, later, strict=False))


def test_a_map_that_overflows_has_a_finite_value(solver):
    solution = solve(lambda z: z + 1 + z**2, torch.full((2, 2), 3.0, dtype=F64), solver)
    assert not solution.converged.any()
    assert solution.value.isfinite().all()


def test_a_nonfinite_start_is_the_verdict_of_its_row_only(solver):
    z0 = torch.zeros(3, 1, dtype=F64)
    reference = solve(beside_healthy_rows(lambda z: 0.5 * z), z0, solver)
    z0[SICK] = torch.nan
    solution = solve(beside_healthy_rows(lambda z: 0.5 * z), z0, solver)
    assert solution.status[SICK] == Status.NONFINITE
    assert_healthy_rows_are_those_of(solution, reference)


def test_a_solved_row_keeps_its_start_beside_rows_that_take_long(solver):
    z0 = torch.zeros(3, 1, dtype=F64)
    solution = solve(beside_healthy_rows(lambda z: 0.5 * z), z0, solver, rtol=1e-10)
    assert solution.steps[SICK] == 1
    assert solution.value[SICK] == 0
    assert solution.steps[0] > 1


def tensors(*numbers):
    return tuple(torch.full((1, 1), number, dtype=F64) for number in numbers)


BOUNDED = {  # a map, its start, and each of its fixed points
    "late block": (
        lambda z: (0.5 * z[0] + 1, 0.5 * z[1] + 0.5 * torch.exp(20 - 40 / z[0])),
        tensors(0.0, 0.0),
        [(2.0, 1.0)],
    ),
    "chain of ramps": (
        lambda z: (
            0.5 * z[0] + 1,
            0.5 * z[1] + torch.relu(z[0] - 1.2),
            0.5 * z[2] + torch.relu(z[1] - 0.7),
        ),
        tensors(0.0, 0.0, 0.0),
        [(2.0, 1.6, 1.8)],
    ),
    "far below": (
        lambda z: (torch.tanh(2 * z[0] + 1e-10),),
        tensors(0.0),
        [(0.957504024,), (-1e-10,), (-0.957504024,)],
    ),
}


@pytest.mark.parametrize("problem", BOUNDED.values(), ids=BOUNDED)
def test_a_map_with_a_bound_is_never_called_diverged(solver, problem):
    f, z0, points = problem
    solution = solve(f, z0, solver, rtol=1e-8, max_steps=60)
    assert solution.status[0] != Status.DIVERGED
    if solution.converged[0]:
        value = torch.cat(solution.value, dim=1)[0]
        near = [torch.allclose(value, value.new_tensor(p), rtol=1e-4, atol=0) for p in points]
        assert any(near)


def test_slow_convergence_ends_as_max_steps_and_a_floor_as_stagnated(solver):
    slow = solve(lambda z: torch.tanh(z) + 1e-9, torch.ones(1, 1, dtype=F64), solver, max_steps=4)
    assert slow.status.tolist() == [Status.MAX_STEPS]
    # |f(z) - z| >= 1 everywhere, whatever the solver tries.
    floor = lambda z: z + 1 + z.abs()  # noqa: E731
    solution = solve(floor, torch.zeros(1, 1, dtype=F64), solver, max_steps=300, patience=10)
    assert not solution.converged.any()
    assert solution.evaluations < 300
