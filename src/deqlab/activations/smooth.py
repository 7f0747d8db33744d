"""Analytic activations without a closed form."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.numeric import Numeric
from deqlab.activations.ramps import check_finite


@dataclass(frozen=True)
class Tanh(Numeric):
    """tanh(u)."""

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return ()

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.tanh(u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        t = torch.tanh(u)
        return (1 - t) * (1 + t)


@dataclass(frozen=True)
class Swish(Numeric):
    """u / (1 + exp(-beta u)); SiLU for beta = 1.

    Attributes:
        beta: Steepness, finite.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        check_finite(beta=self.beta)

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return ()

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return u * torch.sigmoid(self.beta * u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        s = torch.sigmoid(self.beta * u)
        return s + self.beta * u * s * (1 - s)
