"""Predicted spectra against closed forms, duals of the activations, and layers that are drawn."""

import math

import pytest
import torch

from deqlab.activations import Identity, LReLU, ReLU, Swish, Tanh
from deqlab.stability import critical_gain, draw, drawn_spectrum, initial_spectrum
from tests.problems import F64, generator


@pytest.mark.parametrize(
    ("law", "activation", "critical"),
    [
        ("iid", Identity(), 1.0),
        ("orthogonal", Identity(), 1.0),
        ("symmetric", Identity(), 0.5),
        ("iid", ReLU(), 2**0.5),
        ("symmetric", ReLU(), 0.5**0.5),
    ],
)
def test_gains_at_the_edge_of_stability_are_those_in_closed_form(law, activation, critical):
    below = initial_spectrum(law, activation, gain=0.6 * critical)
    assert below.radius == pytest.approx(0.6, abs=1e-6)
    for injection in (0.1, 3.0):  # phi is homogeneous: the scale of the state does not matter
        other = initial_spectrum(law, activation, gain=0.6 * critical, injection=injection)
        assert other.radius == pytest.approx(0.6, abs=1e-6)


@pytest.mark.slow
def test_the_critical_gain_is_found_by_bisection():
    assert critical_gain("iid", ReLU()) == pytest.approx(2**0.5, rel=5e-3)
    assert critical_gain("symmetric", Identity()) == pytest.approx(0.5, rel=5e-3)
    # Bounded slopes at larger states are smaller: tanh bears more than the identity.
    assert 1 < critical_gain("iid", Tanh()) < math.inf
    assert 0.5 < critical_gain("symmetric", Tanh()) < critical_gain("iid", Tanh())


def test_the_variance_solves_its_equation_and_the_slopes_are_those_of_the_dual():
    phi, gain = Tanh(), 1.3
    found = initial_spectrum("iid", phi, gain=gain, injection=0.7)
    a = found.variance
    assert a == pytest.approx(gain**2 * float(phi.dual(a, a, a)) + 0.7, rel=1e-8)
    assert found.mean_square_slope == pytest.approx(float(phi.dual_derivative(a, a, a)), rel=1e-8)
    assert found.radius == pytest.approx(gain * found.mean_square_slope**0.5)


@pytest.mark.parametrize("gain", [0.3, 0.6])
def test_a_symmetric_layer_hears_itself(gain):
    # For relu z = relu(h) / (1 - c) on half of the units, so that 2 c (1 - c) = gain^2.
    c = (1 - math.sqrt(1 - 2 * gain**2)) / 2
    variance = 1 / (1 - gain**2 / (2 * (1 - c) ** 2))
    found = initial_spectrum("symmetric", ReLU(), gain=gain)
    assert found.variance == pytest.approx(variance, rel=1e-5)
    assert initial_spectrum("iid", ReLU(), gain=gain).variance < found.variance


def test_laws_are_what_they_are_called():
    n = 200
    for law in ("iid", "orthogonal", "symmetric"):
        w = draw(law, n, gain=0.7, generator=generator(0))
        assert float(w.square().sum() / n) == pytest.approx(0.49, rel=0.03)
    assert torch.equal(w, w.T)
    q = draw("orthogonal", n, gain=1.0, generator=generator(1))
    torch.testing.assert_close(q @ q.T, torch.eye(n, dtype=F64))
    traces = [draw("orthogonal", 3, gain=1.0, generator=generator(i)).trace() for i in range(300)]
    assert abs(float(torch.stack(traces).mean())) < 4 * (1 / 300) ** 0.5  # Haar: mean 0, variance 1


@pytest.mark.parametrize("law", ["iid", "orthogonal", "symmetric"])
@pytest.mark.parametrize("activation", [Identity(), ReLU(), Tanh(), LReLU(0.3, 1.0)], ids=str)
def test_layers_that_are_drawn_have_the_spectrum_that_is_predicted(law, activation):
    gain = 0.35 if law == "symmetric" else 0.7
    expected = initial_spectrum(law, activation, gain=gain)
    found = drawn_spectrum(law, activation, 200, gain=gain, generator=generator(3))
    assert found.converged
    # The outermost of 200 fluctuates by some per cent; what lies beyond is a few at most.
    moduli = found.eigenvalues.abs() / expected.radius
    assert float((moduli > 1.05).double().mean()) <= 0.02
    assert float((moduli > 0.85).double().mean()) >= 0.01
    least = float(found.eigenvalues.abs().min())
    assert least >= 0.8 * expected.inner
    if law == "symmetric":
        assert float(found.eigenvalues.imag.abs().max()) < 1e-6
    if isinstance(activation, Identity) and law == "orthogonal":
        assert least == pytest.approx(expected.inner, rel=1e-9)
        assert found.response == pytest.approx(1 / (1 - gain**2), rel=0.1)


@pytest.mark.slow  # it tries for hundreds of steps
def test_where_nothing_settles_nothing_is_predicted():
    assert math.isnan(initial_spectrum("iid", Identity(), gain=1.5).radius)
    for gain in (1.3, 50.0):  # past the edge its equation would go back below 1
        assert math.isnan(initial_spectrum("symmetric", Tanh(), gain=gain).radius)
    assert initial_spectrum("symmetric", Tanh(), gain=0.0).radius == 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="the edge of a symmetric J is known for nondecreasing"):
        initial_spectrum("symmetric", Swish(), gain=0.3)
    with pytest.raises(ValueError, match=r"gain must be 0 or more, and finite, got -1\.0"):
        draw("iid", 3, gain=-1.0)
    with pytest.raises(ValueError, match="injection must be more than 0"):
        initial_spectrum("iid", Tanh(), gain=0.5, injection=0.0)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        draw("iid", 0, gain=1.0)
