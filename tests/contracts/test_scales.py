"""The scale of the loss and of the state change no digit, and a longer window costs nothing.

The map s f(z / s) has the fixed point s z*, and the same derivatives by s x.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab import Anderson, Implicit, fixed_point
from tests.contracts.dense import at, relative_error, tanh_gradients
from tests.contracts.gradients import exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, contractions, matrix, normal, symmetric_with

W, X, U = matrix(4, norm=0.6, seed=0), normal(3, 4, seed=1), normal(3, 4, seed=2)
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-5), (F64, 1e-10)], ids=["float32", "float64"]
)
SCALES = [1e-6, 1e6]


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def gradients(solver, gradient, *, dtype, scale=1.0, loss=1.0):
    """dL/dW and dL/dx of the map s f(z / s), with L = loss u'z / s: they do not depend on s."""
    w, x = (t.to(dtype, copy=True).requires_grad_() for t in (W, X))
    f = lambda z, w, x: scale * cell(z / scale, w, x)  # noqa: E731
    options = {"solver": solver, "gradient": gradient, "on_failure": "raise"}
    value = fixed_point(f, torch.zeros(3, 4, dtype=dtype), w, x, **options).value
    value.backward((loss / scale * U).to(dtype))
    return w.grad / loss, x.grad / loss


def assert_right(gradients, rtol):
    _, by_x, by_w = tanh_gradients(W, X, U)
    # Value and adjoint are solved to rtol, amplified by 1 / (1 - 0.6) each, the value once more
    # by the curvature of tanh; two orders are room for an unrolled derivative, a step behind.
    assert relative_error(gradients[0], by_w) <= 100 * rtol
    assert relative_error(gradients[1], by_x) <= 100 * rtol


@exact_gradients
@PRECISIONS
@pytest.mark.parametrize("loss", SCALES)
def test_the_accuracy_of_the_gradient_does_not_depend_on_the_scale_of_the_loss(
    case, dtype, rtol, loss
):
    case = at(case, rtol, atol=0.0)
    assert_right(gradients(case.solver, case.gradient, dtype=dtype, loss=loss), rtol)


@exact_gradients
@PRECISIONS
@pytest.mark.parametrize("scale", SCALES)
def test_the_accuracy_of_the_gradient_does_not_depend_on_the_scale_of_the_state(
    case, dtype, rtol, scale
):
    case = at(case, rtol, atol=0.0)
    assert_right(gradients(case.solver, case.gradient, dtype=dtype, scale=scale), rtol)


@PRECISIONS
@pytest.mark.parametrize("loss", SCALES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_default_gradient_keeps_its_accuracy_at_all_scales(dtype, rtol, scale, loss):
    # The adjoint solver that users get who name none.
    solver = Anderson(rtol=rtol, atol=0.0)
    assert_right(gradients(solver, Implicit(), dtype=dtype, scale=scale, loss=loss), rtol)


@every_solver
@PRECISIONS
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_state_changes_no_row_by_more_than_one_evaluation(
    solver, dtype, rtol, scale
):
    solver = replace(solver, rtol=rtol, atol=0.0, max_steps=2000)
    w, x, z0 = W.to(dtype), X.to(dtype), torch.zeros(3, 4, dtype=dtype)
    plain = fixed_point(lambda z: cell(z, w, x), z0, solver=solver)
    scaled = fixed_point(lambda z: scale * cell(z / scale, w, x), z0, solver=solver)
    assert (scaled.steps - plain.steps).abs().max() <= 1
    assert scaled.status.tolist() == plain.status.tolist()


def evaluations(f, z0, memory, rtol=1e-8):
    solver = Anderson(memory=memory, rtol=rtol, atol=0.0, max_steps=500, patience=500)
    solution = fixed_point(f, z0, solver=solver, on_failure="ignore")
    return solution.evaluations if solution.converged.all() else 501


@settings(max_examples=40)
@given(problem=contractions(max_batch=1), memories=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_longer_window_costs_at_most_one_evaluation_more_on_a_contraction(problem, memories):
    # No theorem: windows that forget are not nested. But at |W| <= 0.8 it holds for all we tried.
    short, longer = min(memories), sum(memories)
    at_short = evaluations(problem, problem.z0, short)
    assert evaluations(problem, problem.z0, longer) <= at_short + 1


@settings(max_examples=40)
@given(
    eigenvalues=st.lists(st.floats(-0.95, 0.95), min_size=2, max_size=6),
    seed=st.integers(0, 1000),
    memory=st.integers(1, 5),
)
def test_the_full_window_costs_at_most_one_evaluation_more_than_any_on_an_affine_map(
    eigenvalues, seed, memory
):
    # With m = D the iterates are J applied to those of GMRES, which are optimal in the Krylov
    # space that every other window searches; |J| <= 1 loses at most the one evaluation.
    # (Two windows that both forget have no order: eigenvalues linspace(-0.95, 0.95, 4) and seed
    # 17 take 24 evaluations with m = 2, and 27 with m = 3, in exact arithmetic too.)
    w, x = symmetric_with(eigenvalues, seed=seed), normal(1, len(eigenvalues), seed=seed + 1)
    f = lambda z: z @ w.T + x  # noqa: E731
    full = evaluations(f, torch.zeros_like(x), len(eigenvalues))
    assert full <= evaluations(f, torch.zeros_like(x), memory) + 1
