"""Derivatives of derivatives: z = wz + b has z* = b / (1 - w), and all its derivatives.

dz/dw = b / (1 - w)^2,    d2z/dw2 = 2b / (1 - w)^3,    d3z/dw3 = 6b / (1 - w)^4
"""

import pytest
import torch

from deqlab import fixed_point
from deqlab.gradients import Implicit, JacobianFree
from deqlab.solvers import Anderson
from tests.problems import F64, matrix, normal

SOLVER = Anderson(rtol=1e-13, atol=0.0)
W = torch.tensor([[0.6], [-0.4], [0.0]], dtype=F64)
B = torch.tensor([[1.5], [2.0], [-1.0]], dtype=F64)


def scalar(w, b, *, captured=False, gradient=Implicit()):
    z0 = torch.zeros_like(b)
    options = {"solver": SOLVER, "gradient": gradient}
    if captured:
        return fixed_point(lambda z: w * z + b, z0, **options).value
    return fixed_point(lambda z, w, b: w * z + b, z0, w, b, **options).value


def derivative(value, w):
    return torch.autograd.grad(value.sum(), w, create_graph=True)[0]


@pytest.mark.parametrize("captured", [False, True])
def test_derivatives_of_the_scalar_map_are_their_closed_forms(captured):
    w = W.clone().requires_grad_()
    first = derivative(scalar(w, B, captured=captured), w)
    second = derivative(first, w)
    third = derivative(second, w)
    # Each order differentiates solves to 1e-13, amplified by 1 / (1 - 0.6) per order.
    torch.testing.assert_close(first, B / (1 - W) ** 2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second, 2 * B / (1 - W) ** 3, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(third, 6 * B / (1 - W) ** 4, rtol=1e-7, atol=1e-7)


def test_mixed_derivatives_are_symmetric_and_closed_form():
    w, b = W.clone().requires_grad_(), B.clone().requires_grad_()
    expected = 1 / (1 - W) ** 2
    for one, other in ((w, b), (b, w)):
        mixed = derivative(derivative(scalar(w, b), one), other)
        torch.testing.assert_close(mixed, expected, rtol=1e-8, atol=1e-8)


def test_the_derivative_by_the_cotangent_is_the_jacobian():
    w = W.clone().requires_grad_()
    u = torch.ones_like(B, requires_grad=True)
    (first,) = torch.autograd.grad(scalar(w, B), w, u, create_graph=True)
    (by_u,) = torch.autograd.grad(first.sum(), u)
    torch.testing.assert_close(by_u, B / (1 - W) ** 2, rtol=1e-9, atol=1e-9)


def test_second_derivatives_of_a_tanh_cell_are_those_of_finite_differences():
    w, x = matrix(2, norm=0.7, seed=0).requires_grad_(), normal(2, 2, seed=1).requires_grad_()
    f = lambda z, w, x: torch.tanh(z @ w.T + x)  # noqa: E731
    solve = lambda w, x: fixed_point(f, torch.zeros_like(x), w, x, solver=SOLVER).value  # noqa: E731
    assert torch.autograd.gradgradcheck(solve, (w, x))


def test_a_gradient_penalty_trains_a_captured_module():
    # |dz/dx|^2 = sum 1 / (1 - w)^2 for z = wz + x; by w: 2 / (1 - w)^3.
    w, x = W.clone().requires_grad_(), B.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        fixed_point(lambda z, x: w * z + x, torch.zeros_like(B), x, solver=SOLVER).value.sum(),
        x,
        create_graph=True,
    )
    (slope**2).sum().backward()
    torch.testing.assert_close(w.grad, 2 / (1 - W) ** 3, rtol=1e-8, atol=1e-8)


def test_a_recorded_first_derivative_is_the_plain_one():
    w, x = matrix(3, norm=0.8, seed=2).requires_grad_(), normal(2, 3, seed=3)
    f = lambda z, w, x: torch.tanh(z @ w.T + x)  # noqa: E731
    value = fixed_point(f, torch.zeros_like(x), w, x, solver=SOLVER).value
    (plain,) = torch.autograd.grad(value.sum(), w, retain_graph=True)
    (recorded,) = torch.autograd.grad(value.sum(), w, create_graph=True)
    torch.testing.assert_close(recorded, plain, rtol=1e-10, atol=1e-12)


def test_second_derivatives_of_the_jacobian_free_gradient_are_those_of_its_formula():
    # JFB's first derivative is df/dw at z*, that is z*; and z* moves by JFB's rule again: z*.
    w = W.clone().requires_grad_()
    first = derivative(scalar(w, B, gradient=JacobianFree()), w)
    second = derivative(first, w)
    torch.testing.assert_close(first, B / (1 - W), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second, B / (1 - W), rtol=1e-9, atol=1e-9)


def test_arguments_that_depend_on_each_other_get_partial_derivatives():
    # z = wz + w^2 + w, given as w, w^2 and a closure: z* = (w + w^2) / (1 - w).
    w = W.clone().requires_grad_()
    square = w**2
    value = fixed_point(
        lambda z, a, b: a * z + b + w, torch.zeros_like(w), w, square, solver=SOLVER
    ).value
    exact = ((1 + 2 * W) * (1 - W) + W + W**2) / (1 - W) ** 2
    (plain,) = torch.autograd.grad(value.sum(), w, retain_graph=True)
    (recorded,) = torch.autograd.grad(value.sum(), w, create_graph=True)
    torch.testing.assert_close(plain, exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(recorded, exact, rtol=1e-9, atol=1e-9)
    # z = 2 / (1 - w) - 2 - w: the second derivative is 4 / (1 - w)^3.
    (second,) = torch.autograd.grad(recorded.sum(), w)
    torch.testing.assert_close(second, 4 / (1 - W) ** 3, rtol=1e-8, atol=1e-8)
