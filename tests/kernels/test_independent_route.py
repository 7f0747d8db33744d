"""Every coefficient by another route: scipy's adaptive quadrature, and a bracketed root for tau_*.

Nothing of `deqlab.activations` is used: phi and phi' are written again, and the integrals are cut
at the kinks.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import erf, expit

from deqlab.activations import (
    ELU,
    Erf,
    HardTanh,
    Identity,
    LeakyReLU,
    LReLU,
    Polynomial,
    ReLU,
    Swish,
    Tanh,
    from_callable,
)
from deqlab.kernels import ExplicitKernel, ImplicitKernel

ROUTES = {
    "relu": (ReLU(), lambda u: max(u, 0.0), lambda u: float(u > 0), (0.0,)),
    "leaky": (
        LeakyReLU(0.1),
        lambda u: max(u, 0.1 * u),
        lambda u: 1.0 if u > 0 else 0.1,
        (0.0,),
    ),
    "l-relu": (
        LReLU(0.9, -0.2),
        lambda u: max(0.9 * u, -0.2 * u),
        lambda u: 0.9 if u > 0 else -0.2,
        (0.0,),
    ),
    "tanh": (Tanh(), math.tanh, lambda u: 1 - math.tanh(u) ** 2, ()),
    "erf": (Erf(), erf, lambda u: 2 / math.sqrt(math.pi) * math.exp(-u * u), ()),
    "swish": (
        Swish(),
        lambda u: u * expit(u),
        lambda u: expit(u) * (1 + u * expit(-u)),
        (),
    ),
    "elu": (
        ELU(),
        lambda u: u if u > 0 else math.expm1(u),
        lambda u: 1.0 if u > 0 else math.exp(u),
        (0.0,),
    ),
    "hard tanh": (
        HardTanh(0.8, 1.2),
        lambda u: 0.8 * min(max(u, -1.2), 1.2),
        lambda u: 0.8 * (abs(u) < 1.2),
        (-1.2, 1.2),
    ),
    "cubic": (
        Polynomial((0.1, 0.6, 0.05, -0.01)),
        lambda u: 0.1 + 0.6 * u + 0.05 * u**2 - 0.01 * u**3,
        lambda u: 0.6 + 0.1 * u - 0.03 * u**2,
        (),
    ),
    "identity": (Identity(), lambda u: u, lambda u: 1.0, ()),
    "callable": (
        from_callable(lambda u: 0.5 * u.sin() + 0.3 * (u - 0.7).abs(), kinks=(0.7,)),
        lambda u: 0.5 * math.sin(u) + 0.3 * abs(u - 0.7),
        lambda u: 0.5 * math.cos(u) + (0.3 if u > 0.7 else -0.3),
        (0.7,),
    ),
}


def mean(h, kinks=()):
    """E[h(xi)], piece by piece."""
    cuts = [-12.0, *(k for k in sorted({*kinks, -4.0, 0.0, 4.0}) if abs(k) < 12), 12.0]
    density = lambda t: h(t) * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    pieces = pairwise(cuts)
    return sum(quad(density, *piece, epsabs=1e-13, epsrel=1e-12)[0] for piece in pieces)


def moments(phi, slope, kinks, tau):
    """g1, g2, q, gamma2, d of phi less its mean."""
    at = [k / tau for k in kinks]
    shift = mean(lambda t: phi(tau * t), at)
    first = mean(lambda t: slope(tau * t), at)
    second = mean(lambda t: t * slope(tau * t), at) / tau
    q = 2 * mean(lambda t: t * (phi(tau * t) - shift) * slope(tau * t), at) / tau
    gamma2 = mean(lambda t: (phi(tau * t) - shift) ** 2, at)
    return first**2, second**2, q, gamma2, mean(lambda t: slope(tau * t) ** 2, at)


@pytest.mark.parametrize(
    ("tau0", "sigma_a2"),
    [
        (0.5, 0.5),
        (1.0, 0.2),
        (2.0, 0.05),
        *(
            pytest.param(tau0, sigma_a2, marks=pytest.mark.slow)
            for tau0, sigma_a2 in ((0.5, 0.05), (0.5, 0.2), (1.0, 0.05), (1.0, 0.5), (2.0, 0.2))
        ),
        pytest.param(2.0, 0.5, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ROUTES)
def test_coefficients_of_a_deq(name, tau0, sigma_a2):
    phi, *route = ROUTES[name]
    s_b = 1 - sigma_a2

    def excess(square):
        return sigma_a2 * moments(*route, math.sqrt(square))[3] + s_b * tau0**2 - square

    low = s_b * tau0**2
    tau = math.sqrt(brentq(excess, 0.9 * low, 4 * (low + 1), xtol=1e-14, rtol=1e-14))
    g1, g2, q, gamma2, d = moments(*route, tau)
    rest = 1 - sigma_a2 * g1
    a1, a4 = s_b * g1 / rest, s_b / (1 - sigma_a2 * q / 2)
    inner = sigma_a2 * a1 + s_b
    a2, a3 = g2 * a4**2 / (4 * rest), g2 * inner**2 / (2 * rest)
    b1 = a1 / rest

    found = ImplicitKernel(activation=phi, sigma_a2=sigma_a2).coefficients(
        tau0, trained="readout+recurrent"
    )
    assert found.taus == pytest.approx((tau,), abs=1e-8)
    assert (found.alpha1, found.alpha2, found.alpha3, found.alpha4, found.gamma2) == pytest.approx(
        (a1, a2, a3, a4, gamma2), abs=1e-8
    )
    b3 = (a3 + b1 * sigma_a2 * g2 * inner) / rest
    kappa2 = gamma2 / (1 - sigma_a2 * d)
    assert (found.beta1, found.beta2, found.beta3, found.kappa2) == pytest.approx(
        (b1, a2 / rest, b3, kappa2), abs=1e-8
    )

    # All weights: the formulas of THEORY 1.2, which are written another way.
    full = ImplicitKernel(activation=phi, sigma_a2=sigma_a2).coefficients(tau0, trained="all")
    f = a1 + s_b * g1
    f3 = (a3 + s_b * g2 * inner) / rest + f * sigma_a2 * g2 * inner / rest**2
    kappa2 = (gamma2 + s_b * d * tau0**2) / (1 - sigma_a2 * d)
    assert (full.beta1, full.beta2, full.beta3, full.kappa2) == pytest.approx(
        (f / rest, a2 / rest, f3, kappa2), abs=1e-8
    )


@pytest.mark.parametrize("tau0", [0.5, 2.0])
@pytest.mark.parametrize("name", ROUTES)
def test_coefficients_of_two_explicit_layers(name, tau0):
    phi, *route = ROUTES[name]
    a, b, kappa2, tau = np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]), tau0**2, tau0
    for _ in range(2):
        g1, g2, q, gamma2, d = moments(*route, tau)
        new = np.array(
            [
                g1 * a[0],
                g1 * a[1] + g2 * a[3] ** 2 / 4,
                g1 * a[2] + g2 * a[0] ** 2 / 2,
                q * a[3] / 2,
            ]
        )
        b = new[:3] + g1 * b + np.array([0.0, 0.0, b[0] * g2 * a[0]])
        a, kappa2, tau = new, gamma2 + kappa2 * d, math.sqrt(gamma2)
    found = ExplicitKernel([phi, phi]).coefficients(tau0)
    assert (found.alpha1, found.alpha2, found.alpha3, found.alpha4, found.gamma2) == pytest.approx(
        (*a, gamma2), abs=1e-8
    )
    assert (found.beta1, found.beta2, found.beta3, found.kappa2) == pytest.approx(
        (*b, kappa2), abs=1e-8
    )
