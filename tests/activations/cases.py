"""Every activation, beside the same function in plain floats; and integrals by scipy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from scipy.integrate import quad

from deqlab.activations import (
    ELU,
    Activation,
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

F64 = torch.float64
REACH = 12.0  # polynomials of degree 6, squared, have 1e-22 of their mass beyond


@dataclass(frozen=True)
class Case:
    """An activation and what it should be.

    Attributes:
        value: phi, in plain floats.
        slope: phi'.
        odd: Whether phi is odd.
        homogeneous: Whether phi(s u) = s phi(u) for s > 0.
    """

    name: str
    phi: Activation
    value: Callable[[float], float]
    slope: Callable[[float], float]
    odd: bool = False
    homogeneous: bool = False


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def ramp(left, right):
    return (lambda x: right * x if x > 0 else left * x), (lambda x: right if x > 0 else left)


def sextic(x):
    return 0.3 - x + 0.5 * x**3 - 0.1 * x**4 + 0.02 * x**6


def sextic_slope(x):
    return -1 + 1.5 * x**2 - 0.4 * x**3 + 0.12 * x**5


def elu(alpha):
    return (
        lambda x: x if x > 0 else alpha * math.expm1(x),
        lambda x: 1.0 if x > 0 else alpha * math.exp(x),
    )


def hard_tanh(a, c):
    return lambda x: a * min(max(x, -c), c), lambda x: a * (abs(x) < c)


TANH = math.tanh, lambda x: 1 - math.tanh(x) ** 2
ERF = math.erf, lambda x: 2 / math.sqrt(math.pi) * math.exp(-x * x)
SWISH = (
    lambda x: x * sigmoid(1.5 * x),
    lambda x: sigmoid(1.5 * x) * (1 + 1.5 * x * sigmoid(-1.5 * x)),
)


def softplus(u):
    return torch.logaddexp(u, torch.zeros_like(u))


CLOSED = [
    Case("ReLU", ReLU(), *ramp(0.0, 1.0), homogeneous=True),
    Case("LeakyReLU", LeakyReLU(0.2), *ramp(0.2, 1.0), homogeneous=True),
    Case("LReLU", LReLU(0.7, -0.4), *ramp(-0.4, 0.7), homogeneous=True),
    Case("Identity", Identity(), *ramp(1.0, 1.0), odd=True, homogeneous=True),
    Case("Polynomial", Polynomial((0.3, -1.0, 0.0, 0.5, -0.1, 0.0, 0.02)), sextic, sextic_slope),
    Case("Erf", Erf(), *ERF, odd=True),
    Case(
        "Shifted",
        ReLU().centred(0.4),
        lambda x: max(x, 0) - 0.4,
        lambda x: float(x > 0),
    ),
]
NUMERIC = [
    Case("Tanh", Tanh(), *TANH, odd=True),
    Case("Swish", Swish(1.5), *SWISH),
    Case("ELU", ELU(1.3), *elu(1.3)),
    Case("HardTanh", HardTanh(0.8, 1.2), *hard_tanh(0.8, 1.2), odd=True),
    Case("Shifted Swish", Swish(1.5).centred(0.3), lambda x: SWISH[0](x) - 0.3, SWISH[1]),
]
FROM_CALLABLE = [
    Case("relu", from_callable(torch.relu), *ramp(0.0, 1.0), homogeneous=True),
    Case("elu", from_callable(ELU(1.0), ELU(1.0).derivative), *elu(1.0)),
    Case("softplus", from_callable(softplus), lambda x: math.log1p(math.exp(x)), sigmoid),
]
CASES = CLOSED + NUMERIC + FROM_CALLABLE


def tensor(*values):
    return torch.tensor(values, dtype=F64)


def gauss(function, breaks=(), *, epsabs=1e-15):
    """E[function(xi)], by scipy, on pieces no longer than 3: it must see a Gaussian's peak."""
    ends = [-REACH, *(x / 2 for x in range(-12, 13, 5)), REACH]
    ends = sorted({*ends, *(x for x in breaks if abs(x) < REACH)})
    density = lambda x: function(x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    # full_output: no warning where rounding is reached first.
    return math.fsum(
        quad(density, low, high, epsabs=epsabs, epsrel=1e-13, limit=100, full_output=1)[0]
        for low, high in pairwise(ends)
    )


def mean(function, kinks, a):
    """E[function(sqrt(a) xi)]."""
    sigma = math.sqrt(a)
    return gauss(lambda x: function(sigma * x), [k / sigma for k in kinks])


def dual(function, kinks, a, b, rho):
    """E[function(u) function(v)], v given u inside: no rotation, no rule of the package."""
    u, v, rest = math.sqrt(a), math.sqrt(b), math.sqrt((1 - rho) * (1 + rho))
    if rest == 0:
        both = [k / u for k in kinks] + [k / (rho * v) for k in kinks]
        return gauss(lambda x: function(u * x) * function(rho * v * x), both)

    def given(x):
        breaks = [(k / v - rho * x) / rest for k in kinks]
        inner = gauss(lambda y: function(v * (rho * x + rest * y)), breaks, epsabs=1e-13)
        return function(u * x) * inner

    # For rho near 1 the inner integral is steep where v crosses a kink.
    near = (
        [(k / v + s * rest) / rho for k in kinks for s in (-8, -4, -2, 0, 2, 4, 8)] if rho else []
    )
    return gauss(given, [k / u for k in kinks] + near, epsabs=1e-13)
