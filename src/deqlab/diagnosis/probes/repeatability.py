"""Whether f is the same map at each call: batch statistics, dropout, and other random numbers.

What torch draws and what modules write a solve holds still (see `maps.flat_map`): two evaluations
of one solve agree. Two solves do not, where f draws. What f takes from elsewhere (numpy's random
numbers, a counter in Python) nothing holds.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deqlab.diagnosis.subject import Problem
from deqlab.maps.flat_map import FlatMap

ROUNDING = 1000.0
"""In units of eps: devices that add in any order differ by less than this."""


@dataclass(frozen=True, kw_only=True)
class Repeatability:
    """What two evaluations at one point have in common.

    Attributes:
        changes: The relative difference of two evaluations in one solve; 0 for a map.
        draws: Whether f draws random numbers from torch.
        differs: The relative difference of two solves' first evaluations.
        random_modules: Modules in train mode that draw, by name.
        batch_norms: Modules that normalise by the statistics of the batch, by name.
    """

    changes: float
    draws: bool
    differs: float
    random_modules: tuple[str, ...]
    batch_norms: tuple[str, ...]

    @property
    def is_a_map(self) -> bool:
        """Whether two evaluations in one solve agree."""
        return self.changes == 0


def repeatability(problem: Problem) -> Repeatability:
    """Evaluate f twice at the image of the start, in one solve and in two.

    Not at the start: a dropout of zeros shows nothing.
    """
    z = problem.at(problem.z0).nan_to_num(0, 0, 0)
    first, second = problem.at(z), problem.at(z)
    again = FlatMap(problem.f.f, problem.layout, problem.z0.device)
    with torch.no_grad():
        other = again(z, *problem.args)
    modules = problem.modules
    return Repeatability(
        changes=_difference(first, second),
        draws=problem.f.is_random,
        differs=_difference(first, other),
        random_modules=tuple(name for name, part in modules if _draws(part)),
        batch_norms=tuple(name for name, part in modules if _takes_batch(part)),
    )


def _difference(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"]) -> float:
    """Return |one - other| / |one| over all numbers that are finite; 0 below rounding."""
    eps = torch.finfo(one.dtype).eps
    one, other = one.double().nan_to_num(0, 0, 0), other.double().nan_to_num(0, 0, 0)
    far, size = (one - other).norm().item(), max(one.norm().item(), other.norm().item())
    relative = far / size if size > 0 else 0.0
    return relative if relative > ROUNDING * eps else 0.0


def _draws(module: nn.Module) -> bool:
    dropped = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
    return module.training and (dropped or isinstance(module, nn.RReLU))


def _takes_batch(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
