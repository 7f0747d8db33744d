"""Activations with one slope for u < 0 and another for u > 0.

With slopes l and r, phi(u) = s u + t |u|, s = (r + l) / 2, t = (r - l) / 2, and for
(u, v) ~ N(0, [[a, c], [c, b]])

    E[u v] = c,    E[|u| |v|] = (2 / pi) (sqrt(ab - c^2) + c asin(rho)),    E[u |v|] = 0,
    E[sign u sign v] = (2 / pi) asin(rho),    E|u| = sqrt(2 a / pi).

For ReLU these are the arc-cosine kernels of degree 1 and 0 (Cho & Saul 2009).
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.base import Activation
from deqlab.activations.covariance import Covariance
from deqlab.activations.moments import Moments


@dataclass(frozen=True)
class Ramp(Activation):
    """Linear on either side of 0."""

    @property
    @abstractmethod
    def slopes(self) -> tuple[float, float]:
        """The slope for u < 0 and that for u > 0."""

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        left, right = self.slopes
        return () if left == right else (0.0,)

    @property
    @override
    def closed_form(self) -> bool:
        return True

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        left, right = self.slopes
        return torch.where(u > 0, torch.full_like(u, right), torch.full_like(u, left))

    @override
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        linear, modulus = self._parts
        if modulus == 0:
            return (linear**2 * pair.c).expand(pair.shape) + m**2
        moduli = (2 / math.pi) * (pair.root + pair.c * pair.arcsine)
        dual = linear**2 * pair.c + modulus**2 * moduli
        return dual if m == 0 else dual - m * (self._mean(pair.a) + self._mean(pair.b)) + m**2

    @override
    def _dual_derivative(self, pair: Covariance) -> Tensor:
        linear, modulus = self._parts
        return linear**2 + modulus**2 * (2 / math.pi) * pair.arcsine

    @override
    def _mean(self, a: Tensor) -> Tensor:
        return self._parts[1] * torch.sqrt(a * (2 / math.pi))

    @override
    def _moments(self, tau: float, mean: float, shift: float) -> Moments:
        linear, modulus = self._parts
        d = linear**2 + modulus**2
        second = modulus * math.sqrt(2 / math.pi) / tau  # E[phi'']
        return Moments(
            mean=mean,
            g1=linear**2,
            g2=second**2,
            q=2 * d - 2 * shift * second,
            gamma2=tau**2 * d - 2 * shift * mean + shift**2,
            d=d,
        )

    @property
    def _parts(self) -> tuple[float, float]:
        left, right = self.slopes
        return (right + left) / 2, (right - left) / 2


@dataclass(frozen=True)
class ReLU(Ramp):
    """max(u, 0)."""

    @property
    @override
    def slopes(self) -> tuple[float, float]:
        return 0.0, 1.0

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.relu(u)


@dataclass(frozen=True)
class LeakyReLU(Ramp):
    """The identity for u > 0, slope u for u < 0.

    Attributes:
        slope: Any finite number.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        check_finite(slope=self.slope)

    @property
    @override
    def slopes(self) -> tuple[float, float]:
        return self.slope, 1.0

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.nn.functional.leaky_relu(u, self.slope)


@dataclass(frozen=True)
class LReLU(Ramp):
    """max(a u, b u), the L-ReLU of Ling et al. (2024); the order of a and b does not matter.

    Attributes:
        a: A slope, finite.
        b: The other.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        check_finite(a=self.a, b=self.b)

    @property
    @override
    def slopes(self) -> tuple[float, float]:
        return min(self.a, self.b), max(self.a, self.b)

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        left, right = self.slopes
        return torch.where(u > 0, right * u, left * u)


@dataclass(frozen=True)
class Identity(Ramp):
    """u."""

    @property
    @override
    def slopes(self) -> tuple[float, float]:
        return 1.0, 1.0

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return u


def check_finite(**parameters: float) -> None:
    """Raise ValueError unless every parameter is a finite number."""
    for name, value in parameters.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
