"""What holds for every activation, made by hand or from a function."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.activations.covariance import Covariance
from deqlab.activations.quadrature import pair_expectation
from tests.activations.cases import CASES, CLOSED, F64, dual, mean, tensor
from tests.problems import normal

RHOS = [0.0, 0.3, -0.3, 0.999999, -0.999999, 1 - 1e-12, 1e-12 - 1, 1.0, -1.0]
VARIANCES = [(1.0, 1.0), (0.4, 2.5), (100.0, 1.0), (0.04, 4.0)]
ACCURACY = 1e-12  # what the package promises, relative to sqrt(E phi(u)^2 E phi(v)^2)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
closed_forms = pytest.mark.parametrize("case", CLOSED, ids=lambda case: case.name)
few = settings(max_examples=2)  # a quadrature costs 20 ms to set up
sides = pytest.mark.parametrize("side", ["dual", "dual_derivative"])


def pairs(variances=VARIANCES):
    """a, b and c of all variances and all rho."""
    rows = [
        (a, b, rho * math.sqrt(a) * math.sqrt(b))
        for (a, b), rho in itertools.product(variances, RHOS)
    ]
    return torch.tensor(rows, dtype=F64).T


def size(function, a, b):
    """sqrt(E phi(u)^2 E phi(v)^2); 1e-300 keeps a zero a zero."""
    return torch.sqrt(function(a, a, a) * function(b, b, b)) + 1e-300


def of(case, side):
    """The function of the side, in plain floats."""
    return case.value if side == "dual" else case.slope


def points(seed):
    """Covariances of all pairs of a few Gaussians, one of them twice, one the negative of it."""
    x = normal(2, 3, seed=seed)
    x = torch.cat([x, x[:1], -x[:1]])
    gram = x @ x.T
    square = gram.diagonal().clone()
    return square[:, None], square[None, :], (gram + gram.T) / 2


@every_case
def test_values_and_derivatives_are_those_of_the_function(case):
    u = tensor(-30.0, -2.2, -1.19, -0.3, -1e-9, 1e-9, 0.5, 1.01, 1.9, 30.0)
    for function, plain in ((case.phi, case.value), (case.phi.derivative, case.slope)):
        expected = torch.tensor([plain(x) for x in u.tolist()], dtype=F64)
        torch.testing.assert_close(function(u), expected, rtol=1e-13, atol=1e-13)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_a_network_activation(case, dtype):
    u = torch.linspace(-2.03, 2, 12, dtype=dtype).view(3, 4).requires_grad_()
    value = case.phi(u)
    assert (value.dtype, value.shape) == (u.dtype, u.shape)
    (slope,) = torch.autograd.grad(value.sum(), u)
    rounding = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(slope, case.phi.derivative(u.detach()), rtol=rounding, atol=rounding)
    assert slope.dtype == case.phi.derivative(u).dtype == dtype


@every_case
def test_gradients_are_finite_at_the_kinks_and_far_out(case):
    u = tensor(*case.phi.kinks, -800.0, 0.0, 800.0).requires_grad_()
    (slope,) = torch.autograd.grad(case.phi(u).sum(), u)
    assert slope.isfinite().all()


@every_case
def test_it_is_a_value(case):
    assert dataclasses.is_dataclass(case.phi)
    assert case.phi == case.phi
    assert hash(case.phi) == hash(case.phi)
    assert list(case.phi.kinks) == sorted(case.phi.kinks)
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.phi.kinks = ()


@closed_forms
@sides
def test_the_closed_form_is_the_quadrature(case, side):
    a, b, c = pairs()
    assert case.phi.closed_form
    function = case.phi if side == "dual" else case.phi.derivative
    numeric = pair_expectation(function, case.phi.kinks, Covariance.checked(a, b, c), case.name)
    closed = getattr(case.phi, side)(a, b, c)
    assert (((closed - numeric).abs()) / size(getattr(case.phi, side), a, b)).max() <= ACCURACY


@every_case
@sides
@pytest.mark.parametrize("rho", [0.3, -0.999999, 1.0, -1.0])
def test_it_is_the_integral_by_brute_force(case, side, rho):
    function, plain = getattr(case.phi, side), of(case, side)
    a, b = (0.4, 2.5) if side == "dual" else (2.5, 0.9)
    found = function(*tensor(a, b, rho * math.sqrt(a) * math.sqrt(b)))
    expected = dual(plain, case.phi.kinks, a, b, rho)
    assert abs(float(found) - expected) <= ACCURACY * float(size(function, *tensor(a, b)))


@every_case
def test_the_derivative_of_the_dual_is_a_difference_quotient(case):
    a, b = tensor(1.0, 0.4, 100.0, 2.0), tensor(1.0, 2.5, 1.0, 2.0)
    scale = torch.sqrt(a * b)
    c, step = tensor(0.0, -0.6, 0.5, 0.9) * scale, 1e-3 * scale
    at = lambda k: case.phi.dual(a, b, c + k * step)  # noqa: E731
    quotient = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    # The fifth derivative times 1e-12 / 30, and rounding over the step.
    error = (case.phi.dual_derivative(a, b, c) - quotient).abs()
    assert (error <= 1e-8 * size(case.phi.dual_derivative, a, b)).all()


@every_case
@few
@given(seed=st.integers(0, 2**32))
def test_duals_of_points_are_a_gram_matrix(case, seed):
    a, b, c = points(seed)
    for function in (case.phi.dual, case.phi.dual_derivative):
        gram = function(a, b, c)
        square = function(a, a, a).squeeze(1)
        assert (gram - gram.T).abs().max() <= ACCURACY * square.max()
        torch.testing.assert_close(gram.diagonal(), square, rtol=1e-7, atol=1e-12)
        bound = torch.sqrt(square[:, None] * square[None, :])
        assert (gram.abs() <= bound * (1 + ACCURACY)).all()
        assert torch.linalg.eigvalsh(gram).min() >= -10 * ACCURACY * square.max()


@every_case
@few
@given(seed=st.integers(0, 2**32))
def test_centring_is_bilinear(case, seed):
    a, b, c = points(seed)
    m = 0.37
    shifted = case.phi.centred(m)
    expected = case.phi.dual(a, b, c) - m * case.phi.mean(a) - m * case.phi.mean(b) + m * m
    torch.testing.assert_close(shifted.dual(a, b, c), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        shifted.dual_derivative(a, b, c), case.phi.dual_derivative(a, b, c), rtol=0, atol=0
    )
    assert shifted.mean(2.0) == pytest.approx(case.phi.mean(2.0) - m, abs=1e-15)
    assert shifted.closed_form == case.phi.closed_form
    assert shifted.moments(0.7).gamma2 == pytest.approx(case.phi.moments(0.7).gamma2, rel=1e-12)


@every_case
def test_centred_at_its_mean_it_has_none(case):
    a = tensor(0.3, 1.7)
    shifted = case.phi.centred(case.phi.mean(1.7))
    assert shifted.mean(1.7) == pytest.approx(0, abs=1e-14)
    assert float(shifted.dual(*a, tensor(0.0))) == pytest.approx(0, abs=ACCURACY)


@pytest.mark.parametrize("case", [case for case in CASES if case.odd], ids=lambda case: case.name)
def test_an_odd_activation_has_an_odd_dual(case):
    a, b, c = pairs([(0.4, 2.5)])
    scale = size(case.phi.dual, a, b)
    assert ((case.phi.dual(a, b, c) + case.phi.dual(a, b, -c)).abs() <= ACCURACY * scale).all()
    even = case.phi.dual_derivative(a, b, c) - case.phi.dual_derivative(a, b, -c)
    assert (even.abs() <= ACCURACY * size(case.phi.dual_derivative, a, b)).all()
    assert case.phi.mean(2.0) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.homogeneous], ids=lambda case: case.name
)
@few
@given(s=st.floats(0.1, 10), t=st.floats(0.1, 10))
def test_a_homogeneous_activation_has_a_homogeneous_dual(case, s, t):
    a, b, c = pairs([(0.4, 2.5)])
    scaled = case.phi.dual(s * s * a, t * t * b, s * t * c)
    error = (scaled - s * t * case.phi.dual(a, b, c)).abs()
    assert (error <= s * t * ACCURACY * size(case.phi.dual, a, b)).all()


@every_case
def test_without_variance_the_dual_is_a_value_times_a_mean(case):
    a, b, c = tensor(0.0, 0.0), tensor(1.3, 0.0), tensor(0.0, 0.0)
    at_zero = case.phi(torch.zeros(1, dtype=F64))
    torch.testing.assert_close(
        case.phi.dual(a, b, c), at_zero * case.phi.mean(b), rtol=1e-12, atol=1e-14
    )
    assert case.phi.dual_derivative(a, b, c).isfinite().all()


@every_case
def test_means_are_integrals(case):
    for a in (0.09, 4.0):
        expected = mean(case.value, case.phi.kinks, a)
        found = case.phi.mean(a)
        assert isinstance(found, float)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-13)
        assert (
            case.phi.mean(tensor(a, a).view(2, 1)).flatten().tolist()
            == [pytest.approx(found, rel=1e-13)] * 2
        )


@every_case
@pytest.mark.parametrize("tau", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("centred", [True, False])
def test_moments_are_integrals(case, tau, centred):
    m, kinks = case.phi.moments(tau, centred=centred), case.phi.kinks
    shift = mean(case.value, kinks, tau**2)
    less = shift if centred else 0.0
    value = lambda x: case.value(x) - less  # noqa: E731

    def integral(function):
        return mean(function, kinks, tau**2)

    # By Stein from phi itself: the package integrates phi' instead.
    stein = lambda f: integral(lambda x: ((x / tau) ** 2 - 1) * f(x)) / tau**2  # noqa: E731
    expected = {
        "mean": shift,
        "g1": (integral(lambda x: x * value(x)) / tau**2) ** 2,
        "g2": stein(value) ** 2,
        "q": stein(lambda x: value(x) ** 2),
        "gamma2": integral(lambda x: value(x) ** 2),
        "d": integral(lambda x: case.slope(x) ** 2),
    }
    assert dataclasses.asdict(m) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@every_case
def test_shapes_broadcast(case):
    a, b = tensor(1.0, 2.0).view(2, 1), tensor(1.0, 0.5, 3.0).view(1, 3)
    c = torch.zeros(2, 3, dtype=F64)
    for function in (case.phi.dual, case.phi.dual_derivative):
        full = function(a, b, c)
        assert full.shape == function(a, b, c[:1, :1]).shape == (2, 3)
        torch.testing.assert_close(full[1, 2], function(a[1, 0], b[0, 2], c[0, 0]))
        assert function(a[:0], b, c[:0]).shape == (0, 3)


@every_case
def test_what_is_no_covariance_is_refused(case):
    one = tensor(1.0)
    for function in (case.phi.dual, case.phi.dual_derivative):
        above = function(one, one, one * (1 + 1e-10))  # rounding
        torch.testing.assert_close(above, function(one, one, one), rtol=0, atol=0)
        with pytest.raises(ValueError, match=r"\(a, b, c\) = \(1.0, 1.0, 1.1\) is no covariance"):
            function(one, one, 1.1 * one)
        with pytest.raises(ValueError, match=r"c must be float64, as duals are, got torch.float32"):
            function(one, one, one.float())
    for tau in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"tau must be more than 0, and finite, got {tau}"):
            case.phi.moments(tau)
    with pytest.raises(ValueError, match=r"a must be 0 or more, and finite, got -1.0"):
        case.phi.mean(-1.0)
