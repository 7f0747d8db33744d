"""Quadrature: right for every pair of a call, steep and flat, and loud where it is not."""

import math

import mpmath
import pytest
import torch

from deqlab.activations import (
    ELU,
    Erf,
    HardTanh,
    Identity,
    Polynomial,
    ReLU,
    Swish,
    Tanh,
    from_callable,
)
from deqlab.activations.covariance import Covariance
from deqlab.activations.quadrature import Coordinates, _kinked, pair_expectation
from deqlab.activations.rules import _legendre, trapezoidal
from tests.activations.cases import TANH, dual, gauss, sigmoid, tensor
from tests.problems import F64, generator


def mixed(count):
    """Pairs of very different variances and correlations, in random order."""
    a, b, rho = torch.rand(3, count, generator=generator(0), dtype=F64)
    a, b = 10 ** (3 * a - 2), 10 ** (3 * b - 2)  # 0.01 to 10
    return a, b, torch.sin(torch.pi * (rho - 0.5)) * torch.sqrt(a * b)


def on_a_grid(f, at):
    """The plane by the trapezoidal rule, which owes nothing to the series of an analytic f."""
    x, weights = trapezoidal(300, 10.0, torch.device("cpu"))
    p, q = x[:, None], x[None, :]
    rows = [
        f(u * (alpha * p + beta * q)) * f(v * (alpha * p - beta * q))
        for u, v, alpha, beta in zip(at.u, at.v, at.alpha, at.beta, strict=True)
    ]
    return torch.einsum("npq,p,q->n", torch.stack(rows), weights, weights)


@pytest.mark.parametrize("phi", [Swish(2.0), Tanh(), ELU(), HardTanh(1.0, 0.7)], ids=repr)
@pytest.mark.parametrize("side", ["value", "slope"])
def test_the_rule_that_a_few_entries_choose_serves_all(phi, side):
    f = phi if side == "value" else phi.derivative
    pair = Covariance.checked(*mixed(60))
    at = Coordinates.of(pair)
    finer = _kinked(f, phi.kinks, 10.0)(at, 60) if phi.kinks else on_a_grid(f, at)
    found = pair_expectation(f, phi.kinks, pair, "phi")
    size = torch.sqrt(phi.dual(pair.a, pair.a, pair.a) * phi.dual(pair.b, pair.b, pair.b))
    # Against sqrt(E phi^2 E phi^2) or, for phi', 0.1 of its largest value.
    assert ((found - finer).abs() <= 1e-12 * (size if side == "value" else 0.1)).all()


@pytest.mark.parametrize("phi", [Erf(), ELU(), Swish()], ids=repr)
def test_one_steep_entry_among_gentle_ones_decides_the_rule(phi):
    a = torch.full((40, 1), 0.01, dtype=F64)
    a[17] = 50.0
    pair = Covariance.checked(a, a.T, 0.99 * torch.sqrt(a * a.T))
    found = pair_expectation(phi, phi.kinks, pair, "phi")[17, 17]
    alone = phi.dual(*tensor(50.0, 50.0, 49.5))
    assert float(found) == pytest.approx(float(alone), rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.6, -0.95])
def test_a_steep_activation(rho):
    # tau = 10: poles of tanh(10 x) at a distance of 0.16.
    found = Tanh().dual(*tensor(100.0, 100.0, 100 * rho))
    assert float(found) == pytest.approx(
        dual(TANH[0], (0.0, 1.0, -1.0), 100.0, 100.0, rho), abs=1e-12
    )


def test_moments_of_a_steep_activation():
    m, kinks = Swish(1.0).moments(10.0, centred=False), [k / 10 for k in (-5, -1, 0, 1, 5)]
    assert m.gamma2 == pytest.approx(
        gauss(lambda x: (10 * x * sigmoid(10 * x)) ** 2, kinks), rel=1e-12
    )


def test_fast_growth_reaches_further():
    # E[exp(s u) exp(s v)] = exp(s^2 (a + b + 2 c) / 2); at 1e-17 of it 8.5 is far too near.
    phi = from_callable(torch.exp)
    a, b, c = tensor(4.0, 1.0), tensor(4.0, 9.0), tensor(3.0, -2.0)
    torch.testing.assert_close(
        phi.dual(a, b, c), torch.exp((a + b + 2 * c) / 2), rtol=1e-12, atol=0
    )


def test_a_polynomial_of_degree_6_by_quadrature():
    phi = Polynomial((0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    a, b, c = tensor(1.0, 2.0, 0.1), tensor(1.0, 0.3, 5.0), tensor(1.0, -0.5, 0.1)
    found = pair_expectation(phi, (), Covariance.checked(a, b, c), "phi")
    torch.testing.assert_close(found, phi.dual(a, b, c), rtol=1e-12, atol=0)


def test_the_derivative_at_the_boundary_of_equal_variances_is_exact():
    # arcsin(rho) has an infinite slope there: one rounding in sqrt(a)^2 would cost 1e-8.
    a = torch.rand(200, generator=generator(1), dtype=F64) * 7
    for phi, expected in (
        (HardTanh(), torch.erf(torch.sqrt(1 / (2 * a)))),
        (Identity(), 1 + 0 * a),
    ):
        torch.testing.assert_close(phi.dual_derivative(a, a, a), expected, rtol=1e-13, atol=0)


def test_a_phi_that_is_too_steep_is_named():
    with pytest.raises(
        RuntimeError, match=r"Gaussian integrals of Tanh\(\) are not resolved: 1665 "
    ):
        Tanh().dual(*tensor(1e6, 1e6, 0.5e6))


def test_a_phi_that_grows_too_fast_is_named():
    phi = from_callable(lambda u: torch.exp(u * u / 8), name="bell")
    with pytest.raises(RuntimeError, match="bell grows too fast for a Gaussian of variance 4"):
        phi.mean(4.0)


def test_erf_of_a_tiny_variance_keeps_its_digits():
    found = Erf().dual(*tensor(1e-200, 1e-200, 1e-200))
    assert float(found) == pytest.approx(4 / math.pi * 1e-200, rel=1e-14)


@pytest.mark.parametrize("count", [12, 70, 300])
def test_gauss_legendre_to_the_last_digits(count):
    x, weights = _legendre(count)
    for degree in (0, 1, 7, 23):
        exact = pytest.approx(1 / (degree + 1), rel=2e-15)
        assert math.fsum((weights * x**degree).tolist()) == exact


@pytest.mark.parametrize("b", [1.0, 37.0, 100.0])
@pytest.mark.parametrize("rho", [1 - 1e-12, -(1 - 1e-12), 1 - 1e-9])
@pytest.mark.parametrize("phi", [ReLU(), from_callable(torch.relu)], ids=repr)
def test_slopes_are_exact_for_the_numbers_given_near_rho_one(phi, b, rho):
    a, c = 0.37, rho * math.sqrt(0.37) * math.sqrt(b)
    with mpmath.workdps(40):
        root = mpmath.sqrt(mpmath.mpf(a) * mpmath.mpf(b) - mpmath.mpf(c) ** 2)
        gold = float(0.5 - mpmath.atan2(root, c) / (2 * mpmath.pi))
    assert abs(float(phi.dual_derivative(*tensor(a, b, c))) - gold) <= 1e-13
