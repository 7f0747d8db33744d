"""The error function.

    E[erf(u) erf(v)]   = (2 / pi) asin(2 c / D),    D^2 = (1 + 2a)(1 + 2b),
    E[erf'(u) erf'(v)] = (4 / pi) / sqrt(D^2 - 4 c^2),

where D^2 - 4 c^2 = 1 + 2a + 2b + 4 (ab - c^2) has no cancellation. Source: Williams (1997),
"Computing with infinite networks", eq. (11).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.base import Activation
from deqlab.activations.covariance import Covariance


@dataclass(frozen=True)
class Erf(Activation):
    """erf(u) = (2 / sqrt(pi)) times the integral of exp(-t^2) from 0 to u."""

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
        return torch.erf(u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.exp(-u * u) * (2 / math.sqrt(math.pi))

    @override
    def _dual(self, pair: Covariance, m: float = 0.0) -> Tensor:
        return (2 / math.pi) * torch.atan2(2 * pair.c, _opposite(pair)) + m**2

    @override
    def _dual_derivative(self, pair: Covariance) -> Tensor:
        return (4 / math.pi) / _opposite(pair)

    @override
    def _mean(self, a: Tensor) -> Tensor:
        return torch.zeros_like(a)


def _opposite(pair: Covariance) -> Tensor:
    """Return sqrt(D^2 - 4 c^2)."""
    return torch.sqrt(1 + 2 * pair.a + 2 * pair.b + (2 * pair.root) ** 2)
