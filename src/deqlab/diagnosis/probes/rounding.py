"""What rounding leaves of f(z) - z at a fixed point."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.diagnosis.subject import Problem

TIGHT = 30.0
"""To what points are solved on, in units of eps."""

NEAREST = 0.05
"""The most of it, in half precision, where nothing is solved to more."""

GROSS = 1e-2
"""The most of an entry of f(z) - z at a fixed point, beside what rounding of the entry does to it,
relative to the entries of the start; and the most that rounding may do to it."""

REACH = 1e3
"""How large an entry may be in any dtype, relative to those of the start."""


def tight(problem: Problem) -> float:
    """Return to what points are solved on."""
    return min(TIGHT * eps_of(problem), NEAREST)


def eps_of(problem: Problem) -> float:
    """Return the distance from 1 to the next number in which f is computed."""
    return torch.finfo(problem.f.lowered or problem.z0.dtype).eps


def small_everywhere(
    problem: Problem, z: Float[Tensor, "B D"], unit: Float[Tensor, " B"]
) -> Bool[Tensor, " B"]:
    """Return whether each entry of f(z) - z is small beside the start or the entry's rounding."""
    eps, root = eps_of(problem), z.shape[1] ** 0.5
    # Where the start is tiny, and the state is not, entries of size 1 are no run-aways.
    usual = torch.maximum(unit, torch.linalg.vector_norm(z, dim=1).clamp_max(root))[:, None] / root
    rounding = 3 * TIGHT * eps
    allowed = max(GROSS, rounding) * usual + rounding * z.abs()
    resolved = z.abs() <= max(GROSS / eps, REACH) * usual
    sound: Tensor = resolved & ((problem.at(z) - z).abs() <= allowed)
    return sound.all(dim=1)
