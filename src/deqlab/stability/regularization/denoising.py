"""The energy of f as a denoiser of its equilibrium: how much of a displacement one step leaves.

    |f(z* + n) - z*|^2 / (sigma^2 D),    n ~ N(0, sigma^2 I)

For small sigma its mean is |J|_F^2 / D, plus the squared residual in the same units; at a finite
sigma it averages over a ball around z*, which a J at one point does not see. z* is the target, and
is held: the loss also pulls f(z*) to where z* was. The units are chosen so that weights carry over
from `frobenius`. The idea is that of denoising auto-encoders, which penalise |J|_F in the limit of
little noise (Alain & Bengio 2014, "What regularized auto-encoders learn from the data-generating
distribution").
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import check_positive
from deqlab.maps.flat_map import FlatMap
from deqlab.stability.regularization.base import Regularizer, gaussian, sizes


@dataclass(frozen=True, kw_only=True)
class DenoisingEnergy(Regularizer):
    """|f(z* + n) - z*|^2 / (sigma^2 D) for Gaussian n.

    It costs one evaluation of f, and one walk over its tape. An equilibrium that was solved to a
    relative tolerance of t adds about (t / noise)^2.

    Attributes:
        noise: sigma over the root mean square of z*, of each sample.
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("noise", self.noise)

    @override
    def penalties(
        self,
        f: FlatMap,
        z: Float[Tensor, "B D"],
        args: tuple[object, ...],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " B"]:
        sigma = self.noise * sizes(z)
        left = (f(z + sigma * gaussian(z, generator), *args) - z) / sigma
        return left.square().mean(dim=1)
