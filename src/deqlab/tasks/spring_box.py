"""A box on a spring in a fluid, whose state an observer is to find from its position.

    q' = v,    v' = -k q - mu v |v|,    k = 5, mu = 1/2,    in steps of dt = .01 by Euler's rule,

for a mass of 1. This is the benchmark of the package RobustNeuralNetworks.jl (Barbara, Revay, Wang,
Cheng & Manchester 2023), example "Observer design with REN", with its constants.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import check_count, check_positive

STIFFNESS, DRAG, DT = 5.0, 0.5, 0.01


def step(x: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """Return the position and the velocity one step later.

    Example:
        >>> step(torch.tensor([0.1, 0.0]))
        tensor([ 0.1000, -0.0050])
    """
    q, v = x.unbind(dim=-1)
    return torch.stack([q + DT * v, v - DT * (STIFFNESS * q + DRAG * v * v.abs())], dim=-1)


def trajectories(
    count: int, steps: int, *, reach: float, generator: torch.Generator
) -> Float[Tensor, "count T 2"]:
    """Return positions and velocities at steps + 1 times, from starts that are uniform on a square.

    Args:
        count: How many.
        steps: Steps of each.
        reach: The largest position and velocity at the start.
        generator: Draws the starts.

    Raises:
        ValueError: A number is outside its domain.
    """
    check_count("count", count)
    check_count("steps", steps)
    check_positive("reach", reach)
    states = [reach * (2 * torch.rand(count, 2, generator=generator) - 1)]
    for _ in range(steps):
        states.append(step(states[-1]))
    return torch.stack(states, dim=1)
