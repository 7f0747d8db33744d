"""Shine: what the forward solve knows of the inverse is put to use, and its limits are seen."""

from dataclasses import replace

import pytest
import torch

from deqlab import Anderson, Status, fixed_point
from deqlab.gradients import Implicit, JacobianFree, Shine
from deqlab.solvers import Broyden
from tests.problems import F64, affine_solution, matrix, normal

SOLVER = Broyden(rtol=1e-12, atol=0.0, memory=30, max_steps=300)


def run(gradient, w, x, u, solver=SOLVER):
    x = x.clone().requires_grad_()
    f = lambda z, x: z @ w.T + x  # noqa: E731
    solution = fixed_point(f, torch.zeros_like(x), x, solver=solver, gradient=gradient)
    solution.value.backward(u)
    return solution, x.grad


def test_in_one_dimension_the_secant_is_the_slope():
    # z = wz + x: one update makes H = 1 / (w - 1), and v = u / (1 - w); the check is a product.
    w = torch.tensor([[0.9], [-3.0], [0.0]], dtype=F64)
    x, u = normal(3, 1, seed=0).requires_grad_(), normal(3, 1, seed=1)
    solution = fixed_point(
        lambda z, x: w * z + x, torch.zeros_like(x), x, solver=SOLVER, gradient=Shine()
    )
    solution.value.backward(u)
    torch.testing.assert_close(x.grad, u / (1 - w), rtol=1e-9, atol=1e-12)
    assert solution.adjoint[0].products == 1
    assert solution.adjoint[0].converged.all()


def test_where_the_solve_went_it_is_nearer_to_the_gradient_than_the_jacobian_free_one():
    # J = b a' has one direction, and the solve goes through it.
    b, a = normal(4, seed=2), normal(4, seed=3)
    w = 0.8 * torch.outer(b, a) / (b.norm() * a.norm())
    x, u = normal(200, 4, seed=4), normal(200, 4, seed=5)
    exact = affine_solution(w.T, u)
    by_shine, by_none = ((run(g, w, x, u)[1] - exact).norm() for g in (Shine(), JacobianFree()))
    assert by_shine < by_none


def test_refinement_goes_to_the_exact_gradient_and_takes_fewer_products_than_from_nothing():
    w, x, u = (
        matrix(8, norm=0.9, seed=7, symmetric=True),
        normal(5, 8, seed=8),
        normal(5, 8, seed=9),
    )
    refined, gradient = run(Shine(refine=40, rtol=1e-8), w, x, u)
    torch.testing.assert_close(gradient, affine_solution(w.T, u), rtol=1e-6, atol=1e-6)
    assert refined.adjoint[0].converged.all()
    coarse, _ = run(Shine(refine=40, rtol=1e-2), w, x, u)
    assert coarse.adjoint[0].products < refined.adjoint[0].products


def test_the_residual_is_reported_and_is_that_of_v():
    w, x, u = matrix(6, norm=0.8, seed=10), normal(3, 6, seed=11), normal(3, 6, seed=12)
    solution, v = run(Shine(fallback=float("inf")), w, x, u)
    residual = (v @ w + u - v).norm(dim=1)
    torch.testing.assert_close(solution.adjoint[0].residual, residual, rtol=1e-9, atol=1e-12)
    within = residual <= 1e-2 * u.norm(dim=1)
    assert solution.adjoint[0].converged.tolist() == within.tolist()


def test_a_poor_row_falls_back_to_the_cotangent_and_a_good_one_does_not():
    # Row 0 starts at its fixed point: Broyden takes no step, and knows nothing but H = -I.
    w, u = 1.5 * torch.eye(3, dtype=F64) - 2.2 * torch.eye(3, dtype=F64), normal(2, 3, seed=13)
    w[0, 1] = 3.0
    x = torch.stack([torch.zeros(3, dtype=F64), normal(3, seed=14)])
    solution, v = run(Shine(fallback=0.3), w, x, u)
    assert torch.equal(v[0], u[0])
    assert solution.adjoint[0].residual[0] > 0.3 * u[0].norm()


def test_a_solve_that_ends_where_it_starts_has_the_jacobian_free_gradient():
    w, x, u = matrix(3, norm=0.5, seed=22), torch.zeros(2, 3, dtype=F64), normal(2, 3, seed=23)
    _, gradient = run(Shine(), w, x, u)
    torch.testing.assert_close(gradient, u, rtol=1e-12, atol=0)


def test_a_row_whose_jacobian_is_not_finite_is_named():
    def f(z, x):
        return torch.cat([0.5 * z[:1] + x[:1], 0.5 * z[1:].abs().sqrt()])

    x = torch.ones(2, 3, dtype=F64, requires_grad=True)
    solution = fixed_point(f, torch.zeros(2, 3, dtype=F64), x, solver=SOLVER, gradient=Shine())
    solution.value.sum().backward()
    assert solution.adjoint[0].status[1] == Status.NONFINITE
    torch.testing.assert_close(x.grad[0], torch.full((3,), 2.0, dtype=F64))


def test_a_second_derivative_is_refused_in_a_sentence():
    x = normal(2, 3, seed=15).requires_grad_()
    value = fixed_point(
        lambda z, x: 0.5 * z.sin() + x, torch.zeros_like(x), x, solver=SOLVER, gradient=Shine()
    ).value
    with pytest.raises(NotImplementedError, match=r"Shine has no second derivative.*Implicit"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


def test_another_solver_is_refused():
    with pytest.raises(ValueError, match=r"pass solver=Broyden\(\), got Anderson"):
        run(
            Shine(),
            matrix(2, norm=0.5, seed=0),
            normal(1, 2, seed=1),
            normal(1, 2, seed=2),
            Anderson(),
        )


def test_rows_do_not_leave_a_solve_whose_memory_is_wanted():
    w, x, u = matrix(3, norm=0.5, seed=16), normal(8, 3, seed=17), normal(8, 3, seed=18)
    x[:6] = 0

    def gradient(rows_independent):
        leaf = x.clone().requires_grad_()
        solution = fixed_point(
            lambda z, x: torch.tanh(z @ w.T + x),
            torch.zeros_like(x),
            leaf,
            solver=SOLVER,
            gradient=Shine(),
            rows_independent=rows_independent,
        )
        solution.value.backward(u)
        return leaf.grad

    assert torch.equal(gradient(True), gradient(False))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"refine": -1}, "refine must be 0 or more, got -1"),
        ({"rtol": -1.0}, "rtol must be 0 or more, and finite, got -1.0"),
        ({"fallback": 0.0}, "fallback must be above 0, got 0.0"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Shine(**settings)


def test_it_costs_less_than_implicit():
    w, x, u = matrix(6, norm=0.9, seed=19), normal(3, 6, seed=20), normal(3, 6, seed=21)
    shine, _ = run(replace(Shine(), refine=1), w, x, u)
    implicit, _ = run(Implicit(), w, x, u)
    assert shine.adjoint[0].products < implicit.adjoint[0].products
