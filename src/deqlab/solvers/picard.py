"""Picard iteration, damped (Krasnoselskii-Mann).

    z_{k+1} = z_k + beta (f(z_k) - z_k)

With beta = 1 it converges for every contraction (Banach 1922); with beta in (0, 1) also for maps
that are merely nonexpansive and have a fixed point (Krasnoselskii 1955; Mann 1953), rotations
among them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.solvers.base import Solver
from deqlab.solvers.loop.evaluation import CountedMap, Iterate


@dataclass(frozen=True, kw_only=True)
class Picard(Solver[None]):
    """Fixed-point iteration: one evaluation of f a step and nothing else.

    Attributes:
        damping: beta, in (0, 1]; 1 is the undamped iteration.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)

    @override
    def init(self, z: Float[Tensor, "B D"]) -> None:
        return None

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: None
    ) -> tuple[Float[Tensor, "B D"], None]:
        if self.damping == 1:
            return iterate.fz, None
        return torch.lerp(iterate.z, iterate.fz, self.damping), None


def check_damping(damping: float) -> None:
    """Raise ValueError unless `damping` is in (0, 1]."""
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be in (0, 1], got {damping}; 1 is undamped")
