"""What every solver computes: values against gold, at every scale, dtype and batch size."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Status, fixed_point
from tests.contracts.solvers import calls_per_step, every_solver
from tests.problems import (
    F64,
    Contraction,
    affine_solution,
    assert_verdicts_hold,
    contractions,
    matrix,
    normal,
    rotation,
)

pytestmark = every_solver


def exact(solver, **changes):
    """The solver with a tolerance near rounding, and the steps to reach it."""
    return replace(solver, **{"rtol": 1e-11, "max_steps": 3000} | changes)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("norm", [0.0, 0.5, 0.9])
def test_value_of_an_affine_map_is_the_dense_solution(solver, norm, symmetric):
    w, x = matrix(5, norm=norm, seed=0, symmetric=symmetric), normal(3, 5, seed=1)
    solution = fixed_point(lambda z: z @ w.T + x, torch.zeros_like(x), solver=exact(solver))
    # The error exceeds the residual by up to 1 / (1 - 0.9) = 10.
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("angle", [0.5, 2.0, 3.1])
def test_value_of_a_rotation_is_the_dense_solution(solver, angle):
    w, x = rotation(angle, scale=0.8), normal(4, 2, seed=2)
    solution = fixed_point(lambda z: z @ w.T + x, torch.zeros_like(x), solver=exact(solver))
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=1e-9, atol=1e-9)


@given(problem=contractions(), rtol=st.sampled_from([1e-3, 1e-6, 1e-10]))
def test_error_is_within_the_banach_bound(solver, problem, rtol):
    # |z - z*| <= |f(z) - z| / (1 - L) for any z; the residual reported must be that of z.
    solution = fixed_point(problem, problem.z0, solver=exact(solver, rtol=rtol))
    error = (solution.value - problem.exact()).norm(dim=1)
    # 1e-14: rounding of the gold itself, whose entries are at most 1.
    assert (error <= solution.residual / (1 - problem.lipschitz) * (1 + 1e-9) + 1e-14).all()
    assert_verdicts_hold(solution, problem, problem.z0, exact(solver, rtol=rtol))


@given(problem=contractions(), max_steps=st.integers(1, 6))
def test_value_without_convergence_is_the_iterate_of_least_residual(solver, problem, max_steps):
    short = exact(solver, max_steps=max_steps)
    solution = fixed_point(problem, problem.z0, solver=short, on_failure="ignore")
    assert solution.trace.shape == (solution.steps.max(), len(problem.x))
    least = solution.trace.min(dim=0).values
    missed = ~solution.converged
    torch.testing.assert_close(solution.residual[missed], least[missed], rtol=1e-12, atol=0)
    assert_verdicts_hold(solution, problem, problem.z0, short)


def test_f_is_called_as_often_as_is_said(solver):
    calls = []

    def f(z):
        calls.append(z)
        return torch.tanh(z @ w.T + x)

    w, x = matrix(4, norm=0.9, seed=3), normal(3, 4, seed=4)
    with torch.no_grad():
        solution = fixed_point(f, torch.zeros_like(x), solver=exact(solver))
    assert solution.evaluations == len(calls)
    # The last iterate is only judged.
    assert len(calls) == calls_per_step(solver) * (solution.steps.max() - 1) + 1


@given(problem=contractions(), log2_scale=st.integers(-40, 40))
def test_scaling_the_state_changes_neither_verdict_nor_number_of_steps(solver, problem, log2_scale):
    # A power of two scales without rounding; 2^40 is about 1e12. atol is the one absolute number.
    relative, s = exact(solver, rtol=1e-8, atol=0.0), 2.0**log2_scale
    plain = fixed_point(problem, problem.z0, solver=relative)
    scaled = fixed_point(lambda z: s * problem(z / s), problem.z0, solver=relative)
    assert scaled.status.tolist() == plain.status.tolist()
    assert (scaled.steps - plain.steps).abs().max() <= 1
    torch.testing.assert_close(scaled.value / s, plain.value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_states_of_any_size_are_solved_to_the_relative_tolerance(solver, scale, dtype):
    w, x = matrix(5, norm=0.5, seed=5), scale * normal(3, 5, seed=6)
    w, x = w.to(dtype), x.to(dtype)
    relative = exact(solver, rtol=1e-5, atol=0.0)
    solution = fixed_point(lambda z: z @ w.T + x, torch.zeros_like(x), solver=relative)
    # rtol / (1 - 0.5), and what float32 rounds.
    torch.testing.assert_close(
        solution.value.double(), affine_solution(w, x), rtol=0, atol=5e-5 * scale
    )


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (F64, 1e-13)])
def test_value_keeps_the_dtype_and_is_as_exact_as_it_allows(solver, dtype, rtol):
    w, x = matrix(5, norm=0.5, seed=7).to(dtype), normal(3, 5, seed=8).to(dtype)
    solution = fixed_point(
        lambda z: z @ w.T + x, torch.zeros_like(x), solver=exact(solver, rtol=rtol)
    )
    assert solution.value.dtype == dtype
    gold = affine_solution(w, x)
    assert (solution.value - gold).norm(dim=1).max() <= 4 * rtol * gold.norm(dim=1).max()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (1, 1), (2, 0), (3, 2, 2), (4,)])
def test_any_batch_size_and_shape_of_a_sample_is_solved(solver, shape):
    x = torch.linspace(-1, 1, max(1, torch.Size(shape).numel()), dtype=F64)
    x = x[: torch.Size(shape).numel()].reshape(shape)
    solution = fixed_point(lambda z: 0.5 * z + x, torch.zeros_like(x), solver=exact(solver))
    torch.testing.assert_close(solution.value, 2 * x, rtol=1e-10, atol=1e-11)
    assert solution.converged.shape == solution.residual.shape == shape[:1]
    assert solution.converged.all()


def test_a_start_at_the_fixed_point_takes_one_evaluation(solver):
    w, x = matrix(4, norm=0.9, seed=9), normal(3, 4, seed=10)
    z_star = affine_solution(w, x)
    solution = fixed_point(lambda z: z @ w.T + x, z_star, solver=exact(solver))
    assert (solution.evaluations, solution.steps.tolist()) == (1, [1, 1, 1])
    assert torch.equal(solution.value, z_star)


def test_a_zero_fixed_point_is_found_to_the_absolute_tolerance(solver):
    # The relative tolerance asks for ever more near zero; atol ends it.
    f = lambda z: 0.5 * z  # noqa: E731
    solution = fixed_point(f, torch.ones(2, 3, dtype=F64), solver=exact(solver, atol=1e-9))
    assert solution.converged.all()
    assert (f(solution.value) - solution.value).norm(dim=1).max() <= 1.001e-9
    at_once = fixed_point(f, torch.zeros(2, 3, dtype=F64), solver=exact(solver, atol=0.0))
    assert at_once.evaluations == 1
    assert at_once.converged.all()


@pytest.mark.parametrize("as_state", [lambda a, b: (a, b), lambda a, b: {"a": a, "b": b}])
def test_each_tensor_of_a_state_is_held_to_its_own_tolerance(solver, as_state):
    # A norm over both would let the small block (1e-6) stop wherever the large one (1e6) does.
    w, x = matrix(3, norm=0.8, seed=11), normal(2, 3, seed=12)
    rates = {"a": 1e6, "b": 1e-6}

    def f(state):
        a, b = state.values() if isinstance(state, dict) else state
        return as_state(0.2 * a + rates["a"] * x, torch.tanh(b / 1e-6 @ w.T + x) * 1e-6)

    z0 = as_state(torch.zeros_like(x), torch.zeros_like(x))
    relative = exact(solver, rtol=1e-6, atol=0.0)
    solution = fixed_point(f, z0, solver=relative)
    assert_verdicts_hold(solution, f, z0, relative)
    assert solution.converged.all()
    a, b = solution.value.values() if isinstance(solution.value, dict) else solution.value
    torch.testing.assert_close(a, 1.25e6 * x, rtol=1e-5, atol=0)
    gold = 1e-6 * Contraction(w, x, 0.8).exact()
    torch.testing.assert_close(b, gold, rtol=0, atol=2e-5 * 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_block_that_is_zero_at_the_start_is_solved_like_the_others(solver, dtype):
    # b is fed by a alone, and c by b: from zero, their first images are zero too.
    x = normal(4, 3, seed=13).to(dtype)

    def f(s):
        return {"a": 0.5 * s["a"] + x, "b": 0.5 * s["a"], "c": torch.sin(s["b"])}

    z0 = {k: torch.zeros_like(x) for k in "abc"}
    solution = fixed_point(f, z0, solver=exact(solver, rtol=1e-6))
    assert solution.status.tolist() == [Status.CONVERGED] * 4
    torch.testing.assert_close(solution.value["b"], x, rtol=0, atol=1e-4)
    torch.testing.assert_close(solution.value["c"], x.sin(), rtol=0, atol=1e-4)
