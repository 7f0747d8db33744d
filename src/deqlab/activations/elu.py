"""The exponential linear unit."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.numeric import Numeric
from deqlab.activations.ramps import check_finite


@dataclass(frozen=True)
class ELU(Numeric):
    """The identity for u > 0, alpha (exp(u) - 1) for u < 0.

    Attributes:
        alpha: Size of the negative part, finite.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_finite(alpha=self.alpha)

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return (0.0,)  # for alpha = 1 it is phi'' that jumps

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        # Not where(u > 0, ...): exp(u) overflows on the side that is not taken, and inf * 0 in
        # the backward pass is nan.
        return torch.relu(u) + self.alpha * torch.expm1(-torch.relu(-u))

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.where(u > 0, 1.0, self.alpha * torch.exp(u.clamp(max=0)))
