"""Potentials are the integrals of their slopes, and belong to their parametrisations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from deqlab.bias import (
    Arctangent,
    Entropy,
    Gated,
    HyperbolicEntropy,
    InverseSquare,
    Linear,
    Product,
    Quadratic,
    Recurrent,
    bregman,
)
from tests.bias.problems import parameters

ONE = np.ones(1)
POTENTIALS = [
    Quadratic(),
    InverseSquare(),
    Arctangent(2 * ONE),
    HyperbolicEntropy(0.3 * ONE),
    Entropy(),
]
NAMES = [type(potential).__name__ for potential in POTENTIALS]
MODELS = [Linear(), Recurrent(), Gated(), Product()]
POSITIVE = st.floats(0.05, 20)


def at(function, beta):
    return float(np.sum(function(np.array([beta]))))


@pytest.mark.parametrize("potential", POTENTIALS, ids=NAMES)
@pytest.mark.parametrize(("a", "b"), [(0.1, 0.4), (0.5, 3.0), (2.0, 1.0)])
def test_value_and_slope_are_integrals(potential, a, b):
    rise, _ = quad(lambda t: at(potential.slope, t), a, b, epsabs=1e-13, epsrel=1e-13)
    assert at(potential.value, b) - at(potential.value, a) == pytest.approx(rise, rel=1e-10)
    turn, _ = quad(lambda t: at(potential.curvature, t), a, b, epsabs=1e-13, epsrel=1e-13)
    assert at(potential.slope, b) - at(potential.slope, a) == pytest.approx(turn, rel=1e-10)


@pytest.mark.parametrize("potential", POTENTIALS, ids=NAMES)
@settings(deadline=None)
@given(a=POSITIVE, b=POSITIVE, sign=st.sampled_from([-1, 1]))
def test_the_divergence_is_above_zero_but_at_the_start(potential, a, b, sign):
    if potential.positive:
        sign = 1
    here, there = np.array([a]), np.array([sign * b])
    assert bregman(potential, here, here) == 0
    # The integral form of the divergence, int Q''(t) (beta - t) dt, cannot cancel.
    exact, _ = quad(lambda t: at(potential.curvature, t) * (a - t), sign * b, a, limit=200)
    size = abs(at(potential.value, a)) + abs(at(potential.value, sign * b)) + 1
    found = bregman(potential, here, there)
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-9 * size)
    if abs(a - sign * b) > 0.1:
        assert found > 0


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
@settings(deadline=None)
@given(data=st.data())
def test_curvature_is_one_over_the_squared_length_of_the_derivatives(model, data):
    # What makes the flow on p a mirror flow: d beta / dt = -|d beta / dp|^2 dL / d beta.
    p = data.draw(parameters(model))
    speed = (model.derivatives(p) ** 2).sum(axis=0)
    found = model.potential(p).curvature(model.coefficients(p))
    np.testing.assert_allclose(found, 1 / speed, rtol=1e-10)


def test_a_net_with_equal_halves_has_the_entropy():
    u = np.array([0.5, 2.0])
    p, model = np.stack([u, u]), Product()
    assert isinstance(model.potential(p), Entropy)
    speed = (model.derivatives(p) ** 2).sum(axis=0)
    np.testing.assert_allclose(model.potential(p).curvature(u * u), 1 / speed)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
@settings(deadline=None)
@given(data=st.data())
def test_derivatives_are_finite_differences_of_the_coefficients(model, data):
    p, h = data.draw(parameters(model)), 1e-6
    for k in range(len(p)):
        d = np.zeros_like(p)
        d[k] = h
        slope = (model.coefficients(p + d) - model.coefficients(p - d)) / (2 * h)
        np.testing.assert_allclose(model.derivatives(p)[k], slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-2, 1e-3])
def test_from_small_starts_the_deq_prefers_a_small_sum(scale):
    # 3 s^3 D_Q(beta, s) -> sum_i beta_i as s -> 0.
    beta, start = np.array([0.3, 2.0, 1.0]), np.full(3, scale)
    found = 3 * scale**3 * bregman(InverseSquare(), beta, start)
    assert found == pytest.approx(beta.sum(), rel=5 * scale)


def test_one_value_of_each_by_hand():
    assert at(InverseSquare().value, 0.5) == pytest.approx(4 / 6)
    assert at(Arctangent(2 * ONE).value, -1.0) == pytest.approx(math.pi / 4)
    assert at(Entropy().value, math.e) == pytest.approx(0)
    assert at(Quadratic().value, 3.0) == 4.5


@pytest.mark.parametrize("potential", [InverseSquare(), Entropy()])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_what_is_outside_the_domain_is_refused(potential, bad):
    with pytest.raises(ValueError, match=r"beta must be finite and above 0 .* got beta\[1\] = "):
        bregman(potential, np.array([1.0, bad]), np.ones(2))
    with pytest.raises(ValueError, match=r"start must be .* got start\[1\] = "):
        bregman(potential, np.ones(2), np.array([1.0, bad]))
