"""Activations as proximal operators: each against its equation, and its derivative by autograd."""

import pytest
import torch

from deqlab.solvers import Box, Relu, Sigmoid, SoftThreshold, Tanh, ZeroBorder
from tests.problems import F64, normal

PUBLIC = [Relu(), Tanh(), Sigmoid(), SoftThreshold(0.3), Box(-0.5, 1.5), ZeroBorder(Tanh())]
every = pytest.mark.parametrize("activation", PUBLIC, ids=lambda a: type(a).__name__)


@every
def test_a_derivative_is_that_of_autograd(activation):
    u = (2 * normal(3, 5, 6, seed=0)).requires_grad_()
    (slope,) = torch.autograd.grad(activation(u).sum(), u)
    torch.testing.assert_close(activation.derivative(u.detach()), slope, rtol=1e-12, atol=1e-14)
    assert 0 <= slope.min() < slope.max() <= 1


@every
@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_a_prox_solves_its_equation(activation, alpha):
    # z = prox_alpha(u) means z = sigma(t), where u = z + alpha (t - z).
    u = 2 * normal(3, 5, 6, seed=1)
    z = activation.prox(u, alpha)
    t = z + (u - z) / alpha
    torch.testing.assert_close(activation(t), z, rtol=0, atol=1e-13)


def test_a_box_may_differ_from_entry_to_entry_and_passes_gradients_to_its_bounds():
    lower = torch.tensor([-1.0, 0.0, -torch.inf], dtype=F64, requires_grad=True)
    upper = torch.tensor([1.0, 0.25, 2.0], dtype=F64, requires_grad=True)
    u = torch.tensor([[-3.0, 5.0, -9.0], [0.5, -1.0, 7.0]], dtype=F64)
    z = Box(lower, upper)(u)
    assert z.tolist() == [[-1.0, 0.25, -9.0], [0.5, 0.0, 2.0]]
    z.sum().backward()
    assert lower.grad.tolist() == [1.0, 1.0, 0.0]
    assert upper.grad.tolist() == [0.0, 1.0, 1.0]


def test_bounds_in_the_wrong_order_and_a_negative_threshold_are_refused():
    with pytest.raises(ValueError, match=r"lower <= upper in every entry, got 1 of 2"):
        Box(torch.tensor([0.0, 2.0]), 1.0)
    with pytest.raises(ValueError, match=r"threshold must be 0 or more, and finite, got -1"):
        SoftThreshold(-1.0)
