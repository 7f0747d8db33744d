"""Derivatives of second order where an operation of f has none, or has one by another way."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from deqlab import Anderson, Implicit, JacobianFree, Phantom, fixed_point
from deqlab.linalg.attention import uses_fused_attention
from tests.problems import F64, Sine, normal

SOLVER = Anderson(rtol=1e-12, max_steps=300)
X = normal(2, 3, 4, seed=0)


def first(f, x, gradient=None, **options):
    """The gradient of a sum of squares at the fixed point."""
    gradient = gradient or Implicit()
    z = fixed_point(f, torch.zeros_like(x), x, solver=SOLVER, gradient=gradient).value
    return torch.autograd.grad(z.square().sum(), x, **options)[0]


def test_second_derivatives_of_fused_attention_are_those_of_first_ones():
    # With heads, without which torch does not fuse.
    f = lambda z, x: 0.4 * attend(*(t[:, None] for t in (z, z + x, z)))[:, 0] + x  # noqa: E731
    assert uses_fused_attention(f(X, X.clone().requires_grad_()))
    x, t, h = X.clone().requires_grad_(), normal(2, 3, 4, seed=1), 1e-5
    (found,) = torch.autograd.grad((first(f, x, create_graph=True) * t).sum(), x)
    ahead, behind = (first(f, (X + s * h * t).requires_grad_()) for s in (1, -1))
    torch.testing.assert_close(found, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-6)


ONES = torch.ones(2, 3, 4, dtype=F64)
MAPS = {
    "Sine is once_differentiable": lambda z, x: 0.3 * Sine.apply(z) + 0.2 * z.tanh() + x,
    "_cdist_backward": lambda z, x: 0.2 * torch.cdist(z, x, p=2).tanh() @ x + x,
    "'_cdist_backward'": lambda z, x: 0.2 * torch.cdist(z, ONES).tanh() @ ONES + x,  # of z alone
}


@pytest.mark.parametrize(
    ("gradient", "operation"),
    [*((gradient, name) for gradient in (Implicit(), Phantom()) for name in MAPS)],
)
def test_an_operation_without_a_second_derivative_is_named(operation, gradient):
    f, x = MAPS[operation], X.clone().requires_grad_()
    assert first(f, x, gradient).isfinite().all()  # the first derivative is there
    sentence = f"^the gradient of fixed_point: [^:]*{operation}[^:]*: write the operation in terms"
    with pytest.raises(NotImplementedError, match=sentence):
        torch.autograd.grad(first(f, x, gradient, create_graph=True).square().sum(), x)


@pytest.mark.parametrize("reached", ["z", "x"])
def test_a_second_derivative_that_torch_would_leave_out_in_silence(reached):
    # Where v' df/dx is recorded it is a constant, or a product: torch finds no way through either.
    f = (
        (lambda z, x: 0.5 * Sine.apply(z) + x)
        if reached == "z"
        else (lambda z, x: 0.5 * z.cos() + Sine.apply(x))
    )
    x = X.clone().requires_grad_()
    with pytest.raises(NotImplementedError, match="Sine is once_differentiable"):
        torch.autograd.grad(first(f, x, create_graph=True).square().sum(), x)


def test_jacobian_free_gradients_of_z_alone_need_none():
    # v = u: the gradient is 2 z*, and its derivative by the same rule is 2.
    x = X.clone().requires_grad_()
    g = first(MAPS["Sine is once_differentiable"], x, JacobianFree(), create_graph=True)
    assert torch.equal(torch.autograd.grad(g.sum(), x)[0], torch.full_like(x, 2.0))


def test_an_error_of_f_in_the_backward_pass_stays_what_it_is():
    class Failing(Sine):
        @staticmethod
        def backward(ctx, cotangent):
            raise RuntimeError("the license has run out")

    x = torch.ones(2, 3, dtype=F64, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^the license has run out$"):
        first(lambda z, x: 0.3 * Failing.apply(z) + x, x)
