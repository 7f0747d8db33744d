"""Closed forms against the quadrature that they spare."""

from dataclasses import astuple

import pytest
import torch

from deqlab.activations import HardTanh, Identity, LReLU, Polynomial, ReLU
from deqlab.activations.base import Activation
from deqlab.activations.covariance import Covariance
from deqlab.activations.numeric import Numeric
from tests.problems import F64, generator


@pytest.mark.parametrize(
    "phi",
    [
        ReLU(),
        LReLU(0.7, -0.3),
        Identity(),
        Polynomial((0.1, 0.5, -0.3, 0.2)),
        Polynomial((0.0, 1.0)),
        Polynomial((3.0,)),
        HardTanh(0.8, 1.2),
        HardTanh(1.0, 0.1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("tau", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("centred", [True, False])
def test_moments(phi, tau, centred):
    found = phi.moments(tau, centred)
    expected = Activation._moments(phi, tau, found.mean, found.mean if centred else 0.0)
    assert astuple(found) == pytest.approx(astuple(expected), rel=1e-12, abs=1e-13)


def pairs():
    """Variances around the limit, correlations up to one and minus one, and equal pairs."""
    rng = generator(0)
    a, b, t = torch.rand(3, 300, generator=rng, dtype=F64)
    a, b = 3 * a, 3 * b
    b[:80] = a[:80]
    rho = 1 - 10 ** (-16 * t)
    rho[::3] *= -1
    rho[1::7] = t[1::7]
    c = rho * torch.sqrt(a * b)
    c[:20], c[20:40] = a[:20], -a[20:40]
    return Covariance.checked(a, b, c)


@pytest.mark.parametrize("limit", [0.3, 1.2, 30.0])
def test_the_duals_of_h_tanh(limit):
    phi, pair = HardTanh(0.8, limit), pairs()
    size = 0.64 * min(1.0, limit**2)
    gap = phi._dual(pair) - Numeric._dual(phi, pair)
    assert float(gap.abs().max()) <= 1e-13 * size
    gap = phi._dual_derivative(pair) - Numeric._dual_derivative(phi, pair)
    assert float(gap.abs().max()) <= 1e-13


def test_a_narrow_h_tanh_keeps_its_digits():
    # E[sign u sign v] = (2 / pi) asin(rho), and clip(u, -c, c) is c sign(u) for small c.
    dual = HardTanh(1.0, 1e-9).dual(1.0, 2.0, 0.7)
    expected = 2 / torch.pi * torch.asin(torch.tensor(0.7 / 2**0.5, dtype=F64))
    assert float(dual / 1e-18) == pytest.approx(float(expected), rel=1e-8)


def test_h_tanh_of_nothing_is_nothing():
    assert HardTanh().dual(0.0, 1.0, 0.0) == 0
    assert HardTanh(2.0).dual_derivative(0.0, 0.0, 0.0) == 4


def test_numbers_are_as_good_as_tensors():
    third = torch.tensor([0.3], dtype=F64)
    assert ReLU().dual(1.0, 1.0, 0.3) == ReLU().dual(third / 0.3, third / 0.3, third)
