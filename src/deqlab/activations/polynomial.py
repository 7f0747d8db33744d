"""Polynomials, by their Hermite expansion.

With phi(u) = sum_k c_k u^k and u ~ N(0, a), phi = sum_n g_n(a) a^(n/2) He_n(u / sqrt(a)), where

    g_n(a) = sum_j c_(n + 2j) a^j (n + 2j)! / (2^j j! n!),

and E[He_n(xi) He_m(xi')] = n! rho^n if m = n, else 0 (Mehler). So the dual is, without a root,

    E[phi(u) phi(v)] = sum_n n! g_n(a) g_n(b) c^n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.base import Activation
from deqlab.activations.covariance import Covariance
from deqlab.activations.moments import Moments
from deqlab.activations.ramps import check_finite


@dataclass(frozen=True)
class Polynomial(Activation):
    """sum_k c_k u^k.

    Attributes:
        coefficients: c_0, c_1, ...; at least one, all finite.
    """

    coefficients: Sequence[float | int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", tuple(float(c) for c in self.coefficients))
        if not self.coefficients:
            raise ValueError("coefficients needs at least one number, the constant term")
        check_finite(**{f"coefficients[{k}]": c for k, c in enumerate(self.coefficients)})

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return ()

    @property
    @override
    def closed_form(self) -> bool:
        return True

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return _horner(self._terms, u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return _horner(self._slope, u)

    @override
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        return _mehler((self._terms[0] - m, *self._terms[1:]), pair)

    @override
    def _dual_derivative(self, pair: Covariance) -> Tensor:
        return _mehler(self._slope, pair)

    @override
    def _mean(self, a: Tensor) -> Tensor:
        return _horner(_hermite(self._terms, 0), a)

    @override
    def _moments(self, tau: float, mean: float, shift: float) -> Moments:
        a = tau**2
        shifted = (self._terms[0] - shift, *self._terms[1:])
        return Moments(
            mean=mean,
            g1=_mean_of_derivative(shifted, 1, a) ** 2,
            g2=_mean_of_derivative(shifted, 2, a) ** 2,
            q=_mean_of_derivative(_product(shifted, shifted), 2, a),
            gamma2=_mean_of_derivative(_product(shifted, shifted), 0, a),
            d=_mean_of_derivative(_product(self._slope, self._slope), 0, a),
        )

    @property
    def _terms(self) -> tuple[float, ...]:
        return tuple(self.coefficients)

    @property
    def _slope(self) -> tuple[float, ...]:
        return tuple(k * c for k, c in enumerate(self.coefficients))[1:] or (0.0,)


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * x + c
    return value


def _hermite(coefficients: tuple[float, ...], n: int) -> tuple[float, ...]:
    """Return the coefficients of g_n, a polynomial in a."""
    return tuple(
        c * (factorial(n + 2 * j) // (2**j * factorial(j) * factorial(n)))
        for j, c in enumerate(coefficients[n::2])
    )


def _mean_of_derivative(coefficients: tuple[float, ...], n: int, a: float) -> float:
    """Return E[phi^(n)(u)], u ~ N(0, a), which is n! g_n(a)."""
    return factorial(n) * sum((c * a**j for j, c in enumerate(_hermite(coefficients, n))), 0.0)


def _product(left: tuple[float, ...], right: tuple[float, ...]) -> tuple[float, ...]:
    product: tuple[float, ...] = tuple(np.convolve(left, right).tolist())
    return product


def _mehler(coefficients: tuple[float, ...], pair: Covariance) -> Tensor:
    dual = torch.zeros_like(pair.c)
    for n in reversed(range(len(coefficients))):  # Horner in c; n! is a product of the steps
        g = _hermite(coefficients, n)
        dual = (n + 1) * dual * pair.c + _horner(g, pair.a) * _horner(g, pair.b)
    return dual
