"""The clipped line, "H-Tanh".

Let (u, v) ~ N(0, [[a, c], [c, b]]), r = sqrt(ab - c^2), and l the limit; Q, n are the tail and the
density of a standard normal number, and h = l / sqrt(a), k = l / sqrt(b). With Owen's (1956)
function T,

    L = P(u > l, v > l) = (Q(h) + Q(k)) / 2 - T(h, (a - c) / r) - T(k, (b - c) / r),
    R = E[(u - l)+ (v - l)+] = (c + l^2) L + r exp(-h^2 (1 + (a - c)^2 / r^2) / 2) / (2 pi)
        - l sqrt(b) n(k) Q(k (b - c) / r) - l sqrt(a) n(h) Q(h (a - c) / r),

and L-, R- the same for -c in place of c,

    P(|u| < l, |v| < l)          = 1 - 2 Q(h) - 2 Q(k) + 2 L + 2 L-,
    E[clip(u, -l, l) clip(v, -l, l)] = c (1 - 2 Q(h) - 2 Q(k)) + 2 R - 2 R-.

Derived for this library; L is eq. (2.1) of Owen (1956), "Tables for computing bivariate normal
probabilities" (numbering not looked up again).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from scipy.special import gammainc, owens_t
from torch import Tensor
from typing_extensions import override

from deqlab.activations.covariance import Covariance
from deqlab.activations.moments import Moments
from deqlab.activations.numeric import Numeric
from deqlab.activations.ramps import check_finite

NARROW = 0.05
"""Limits below this share of a standard deviation: the terms cancel, and quadrature does better."""


@dataclass(frozen=True)
class HardTanh(Numeric):
    """a clip(u, -c, c), the H-Tanh of Ling et al. (2024).

    Attributes:
        a: Slope, finite.
        c: Half the width of the linear part, above 0.
    """

    a: float = 1.0
    c: float = 1.0

    def __post_init__(self) -> None:
        check_finite(a=self.a, c=self.c)
        if self.c <= 0:
            raise ValueError(f"c must be above 0, got {self.c}")

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return -self.c, self.c

    @property
    @override
    def closed_form(self) -> bool:
        return True  # but for variances that make it narrow

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return self.a * u.clamp(-self.c, self.c)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        inside = (u > -self.c) & (u < self.c)
        return torch.where(inside, torch.full_like(u, self.a), torch.zeros_like(u))

    @override
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        if self._is_narrow(pair):
            return super()._dual(pair, m)
        h, k = self.c / pair.a.sqrt(), self.c / pair.b.sqrt()
        inner = 1 - 2 * _tail(h) - 2 * _tail(k)
        beyond = _both_above(pair, self.c, excess=True) - _both_above(
            _mirrored(pair), self.c, excess=True
        )
        dual = self.a**2 * (pair.c * inner + 2 * beyond)
        return torch.where(pair.size > 0, dual, 0.0) + m**2

    @override
    def _dual_derivative(self, pair: Covariance) -> Tensor:
        if self._is_narrow(pair):
            return super()._dual_derivative(pair)
        h, k = self.c / pair.a.sqrt(), self.c / pair.b.sqrt()
        beyond = _both_above(pair, self.c) + _both_above(_mirrored(pair), self.c)
        return self.a**2 * (1 - 2 * _tail(h) - 2 * _tail(k) + 2 * beyond)

    @override
    def _mean(self, a: Tensor) -> Tensor:
        return torch.zeros_like(a)

    @override
    def _moments(self, tau: float, mean: float, shift: float) -> Moments:
        # Published for gamma2; erf(x) - sqrt(4 / pi) x exp(-x^2), which cancels, is P(3/2, x^2).
        x = self.c / tau / math.sqrt(2)
        inside, square = math.erf(x), float(gammainc(1.5, x * x))
        return Moments(
            mean=mean,
            g1=(self.a * inside) ** 2,
            g2=0.0,
            q=2 * self.a**2 * square,
            gamma2=self.a**2 * (tau**2 * square + self.c**2 * math.erfc(x)),
            d=self.a**2 * inside,
        )

    def _is_narrow(self, pair: Covariance) -> bool:
        largest = max(float(pair.a.max()), float(pair.b.max())) if pair.size.numel() else 0.0
        return self.c < NARROW * math.sqrt(largest)


def _mirrored(pair: Covariance) -> Covariance:
    """Return the covariance of (u, -v)."""
    return replace(pair, c=-pair.c)


def _both_above(pair: Covariance, limit: float, *, excess: bool = False) -> Tensor:
    """Return P(u > limit, v > limit); with `excess` E[(u - limit)+ (v - limit)+]."""
    root = pair.root
    h, k = limit / pair.a.sqrt(), limit / pair.b.sqrt()
    left, right = _ratio(pair.a - pair.c, root), _ratio(pair.b - pair.c, root)
    both = (_tail(h) + _tail(k)) / 2 - _owen(h, left) - _owen(k, right)
    if not excess:
        return both
    density = torch.exp(-(h * h) * (1 + left * left) / 2) / (2 * math.pi)
    return (
        (pair.c + limit**2) * both
        + root * density
        - limit * pair.b.sqrt() * _normal(k) * _tail(k * right)
        - limit * pair.a.sqrt() * _normal(h) * _tail(h * left)
    )


def _ratio(numerator: Tensor, root: Tensor) -> Tensor:
    """Return numerator / root; 0 where both are 0, for u and v are one."""
    return torch.where(numerator == 0, 0.0, numerator / root)


def _owen(h: Tensor, slope: Tensor) -> Tensor:
    h, slope = torch.broadcast_tensors(h, slope)
    return torch.as_tensor(owens_t(h.numpy(), slope.numpy()))


def _tail(x: Tensor) -> Tensor:
    tail: Tensor = torch.special.erfc(x / math.sqrt(2)) / 2
    return tail


def _normal(x: Tensor) -> Tensor:
    return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
