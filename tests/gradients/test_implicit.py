"""The adjoint solve: its accuracy, its failures, its record; and the one that is left out."""

import warnings

import pytest
import torch

from deqlab import (
    ConvergenceError,
    ConvergenceWarning,
    Status,
    fixed_point,
)
from deqlab.gradients import Implicit, JacobianFree
from deqlab.solvers import Anderson, Picard
from tests.problems import F64, affine_solution, matrix, normal

# An adjoint that has two evaluations for what takes many more.
STARVED = Implicit(solver=Picard(rtol=1e-10, atol=0.0, max_steps=2))
W = matrix(3, norm=0.9, seed=0)


def solve(x, *, w=W, gradient=Implicit(), solver=Anderson(rtol=1e-11), **options):
    f = lambda z, x: z @ w.T + x  # noqa: E731
    z0 = torch.zeros(x.shape, dtype=x.dtype)
    return fixed_point(f, z0, x, gradient=gradient, solver=solver, **options)


def some_x():
    return normal(3, 3, seed=1).requires_grad_()


def test_a_failed_adjoint_raises_by_default():
    solution = solve(some_x(), gradient=STARVED)
    with pytest.raises(ConvergenceError, match=r"adjoint of fixed_point: 3 of 3 samples missed"):
        solution.value.sum().backward()
    assert [s.status.tolist() for s in solution.adjoint] == [[Status.MAX_STEPS] * 3]


def test_a_failed_adjoint_warns_if_asked_to_and_returns_its_best():
    x = some_x()
    solution = solve(x, gradient=STARVED, on_failure="warn")
    with pytest.warns(ConvergenceWarning, match=r"adjoint of fixed_point: samples missed") as told:
        solution.value.sum().backward()
    assert told[0].message.details.startswith("adjoint of fixed_point: 3 of 3 samples missed")
    assert x.grad.isfinite().all()


def test_a_failed_adjoint_is_recorded_even_if_ignored():
    x = some_x()
    solution = solve(x, gradient=STARVED, on_failure="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution.value.sum().backward()
    assert not solution.adjoint[0].converged.any()


def test_every_backward_pass_adds_one_verdict():
    solution = solve(some_x())
    assert solution.adjoint == []
    loss = solution.value.sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert [s.converged.tolist() for s in solution.adjoint] == [[True] * 3] * 2


def test_the_jacobian_free_gradient_solves_no_adjoint():
    solution = solve(some_x(), gradient=JacobianFree())
    solution.value.sum().backward()
    assert solution.adjoint == []


def test_the_jacobian_free_gradient_of_the_scalar_map_is_its_closed_form():
    # z = wz + 1: exactly dz/dw = 1 / (1 - w)^2; one term of the Neumann series is 1 / (1 - w).
    w = torch.tensor([[0.8], [-0.5], [0.0]], dtype=F64, requires_grad=True)
    f = lambda z, w: w * z + 1  # noqa: E731
    solver = Anderson(rtol=1e-12)
    value = fixed_point(f, torch.zeros_like(w), w, solver=solver, gradient=JacobianFree()).value
    value.sum().backward()
    torch.testing.assert_close(w.grad, 1 / (1 - w.detach()), rtol=1e-9, atol=1e-9)


def test_the_gradient_of_an_affine_map_that_ignores_z_is_exact():
    # norm 0: the solve ends at its second evaluation, the adjoint at its first.
    x = some_x()
    solution = solve(x, w=0 * W)
    solution.value.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert solution.adjoint[0].products == 1


def test_what_measures_the_blocks_of_a_state_is_the_first_product():
    # J = 1/2: the Krylov space of u holds v, of which J'u is all that is needed.
    x = normal(3, 4, seed=1).requires_grad_()
    f = lambda z, x: (z[0] / 2 + x, z[1] / 2 + 1e6 * x)  # noqa: E731
    solution = fixed_point(f, (torch.zeros_like(x), torch.zeros_like(x)), x)
    (solution.value[0] + solution.value[1]).sum().backward()
    assert solution.adjoint[0].products == 1
    torch.testing.assert_close(x.grad, torch.full_like(x, 2 + 2e6))


def test_the_residual_of_the_adjoint_starts_at_the_size_of_the_cotangent():
    solution = solve(some_x())
    u = normal(3, 3, seed=2)
    solution.value.backward(u)
    torch.testing.assert_close(
        solution.adjoint[0].trace[0].double(), u.norm(dim=1), rtol=1e-9, atol=0
    )


def test_rows_without_cotangent_need_no_product():
    solution = solve(some_x())
    solution.value[0].sum().backward()
    assert solution.adjoint[0].steps[1:].tolist() == [0, 0]
    assert solution.adjoint[0].steps[0] > 1


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_the_adjoint_is_as_exact_as_the_forward_solve(rtol):
    x = some_x()
    solve(x, solver=Anderson(rtol=rtol)).value.sum().backward()
    exact = affine_solution(W.T, torch.ones(3, 3, dtype=F64))
    # |v - v*| <= |residual| / (1 - 0.9), with the residual within rtol |v|.
    error = (x.grad - exact).norm(dim=1) / exact.norm(dim=1)
    assert (error <= 11 * rtol).all()


def test_an_absolute_forward_tolerance_leaves_an_adjoint_that_can_be_solved():
    # A relative tolerance of zero would ask for a residual without rounding.
    w, x = matrix(3, norm=0.8, seed=5), normal(20, 3, seed=6).requires_grad_()
    f = lambda z, x: torch.tanh(z @ w.T + x)  # noqa: E731
    solver = Anderson(rtol=0.0, atol=1e-10)
    z = fixed_point(f, torch.zeros(20, 3, dtype=F64), x, solver=solver).value
    z.sum().backward()
    slope = (1 - z.detach() ** 2)[:, :, None]  # J = diag(slope) W, and df/dx = diag(slope)
    v = torch.linalg.solve((torch.eye(3, dtype=F64) - slope * w).mT, torch.ones(20, 3, 1).double())
    torch.testing.assert_close(x.grad, (slope * v).squeeze(2), rtol=1e-8, atol=1e-8)


def test_the_adjoint_holds_a_small_block_to_its_own_tolerance():
    # Two problems side by side; the harder one has the smaller cotangent, by 1e12.
    w, x = matrix(3, norm=0.9, seed=7, symmetric=True), some_x()
    f = lambda s, x: (s[0] @ w.T + x, s[1] @ w.T / 2 + x)  # noqa: E731
    z0 = (torch.zeros(3, 3, dtype=F64), torch.zeros(3, 3, dtype=F64))
    solution = fixed_point(f, z0, x, solver=Picard(rtol=1e-6, max_steps=300))
    u = normal(3, 3, seed=8)
    torch.autograd.grad(solution.value, x, (1e-6 * u, 1e6 * u))
    v = solution.adjoint[0].value[:, :3]
    residual = (v @ w + 1e-6 * u - v).norm(dim=1)
    # 1.001: rounding.
    assert (residual <= 1.001e-6 * v.norm(dim=1)).all()


def test_the_adjoint_holds_every_block_to_its_tolerance():
    # a hears of b, and b of c: the cotangent of a reaches c at the second product only.
    x = normal(4, 3, seed=3).float().requires_grad_()

    def f(s, x):
        return {"a": s["b"].sin() / 2, "b": s["c"].sin() / 2, "c": s["c"].sin() / 2 + x}

    z0 = {k: torch.zeros(4, 3) for k in "abc"}
    solution = fixed_point(f, z0, x, solver=Anderson(rtol=1e-5))
    solution.value["a"].sum().backward()
    assert solution.adjoint[0].converged.all()
    c = solution.value["c"].detach()
    b = solution.value["b"].detach()
    exact = b.cos() / 2 * c.cos() / 2 / (1 - c.cos() / 2)
    # 1e-5, amplified by 1 / (1 - 1/2), in float32.
    torch.testing.assert_close(x.grad, exact, rtol=1e-4, atol=1e-5)


def test_a_gradient_where_the_jacobian_has_radius_above_one_is_exact():
    # Picard repels here; (I - J) is regular, and Anderson solves both systems.
    x, w = some_x(), matrix(3, norm=1.0, seed=4, symmetric=True) - 1.5 * torch.eye(3, dtype=F64)
    solve(x, w=w).value.sum().backward()
    exact = affine_solution(w.T, torch.ones(3, 3, dtype=F64))
    torch.testing.assert_close(x.grad, exact, rtol=1e-8, atol=1e-8)


def test_a_row_without_an_answer_is_no_failure_of_the_adjoint():
    # The cell has no slope at nan either: 0 * nan in the product would fail the row once more.
    x = some_x().detach()
    x[1] = torch.nan
    x.requires_grad_()
    f = lambda z, x: torch.tanh(z @ W.T + x)  # noqa: E731
    solution = fixed_point(f, torch.zeros(3, 3, dtype=F64), x, on_failure="ignore")
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]
    solution.value.sum().backward()
    assert solution.adjoint[0].converged.all()
