"""Linear systems with quadratic costs, drawn or given, that an expert knows."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.control.systems import spectral_radius
from deqlab.recipes.control.config import LinearConfig

LEAST = 0.1
"""What costs that are drawn have of the unit matrix at least."""


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """S systems x+ = A x + B u with costs sum x'Q x + u'R u, in float64.

    Attributes:
        a: A, (S, n, n).
        b: B, (S, n, m).
        q: Q, (S, n, n).
        r: R, (S, m, m).
    """

    a: Tensor
    b: Tensor
    q: Tensor
    r: Tensor


def system_of(config: LinearConfig) -> System:
    """Return the systems of a config, always the same."""
    generator = torch.Generator().manual_seed(0)
    count, n, m = config.systems, config.num_states, config.num_inputs

    def drawn(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    a, b = drawn(n, n), drawn(n, m) / n**0.5
    a *= (config.radius / spectral_radius(a))[:, None, None]
    if config.a:
        a = torch.tensor(config.a, dtype=torch.float64).view(1, n, n)
        b = torch.tensor(config.b, dtype=torch.float64).view(1, n, m)
    return System(a=a, b=b, q=definite(drawn(n, n), LEAST), r=definite(drawn(m, m), LEAST))


def definite(factor: Float[Tensor, "*S k k"], least: float) -> Float[Tensor, "*S k k"]:
    """Return L L' / k + least I, which is positive definite for every L."""
    size = factor.shape[-1]
    eye = torch.eye(size, dtype=factor.dtype, device=factor.device)
    return factor @ factor.mT / size + least * eye
