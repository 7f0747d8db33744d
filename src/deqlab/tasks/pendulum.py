"""A pendulum whose torque is bounded, to be brought upright and kept there.

    theta'' = 5 sin(theta) + u,    in steps of dt = .05 by the midpoint rule,

with theta the angle from upright, for unit mass and length. A step costs

    2 (1 - cos theta) + .1 omega^2 + .01 u^2.

Near upright y = theta + omega / sqrt(5) grows as y' = sqrt(5) (y + u / 5), so that a torque of at
most |u| brings back those alone with |y| < |u| / 5, and others fall.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import check_count, check_positive

GRAVITY, DT = 5.0, 0.05
ANGLE, SPEED, TORQUE = 2.0, 0.1, 0.01
"""What a step costs."""

MARGIN = 0.9
"""How much of what a torque can bring back starts are drawn from."""


def step(x: Float[Tensor, "*B 2"], u: Float[Tensor, "*B"]) -> Float[Tensor, "*B 2"]:
    """Return angle and angular velocity one step later.

    Example:
        >>> step(torch.tensor([0.0, 1.0]), torch.tensor(0.0))
        tensor([0.0502, 1.0062])
    """
    theta, omega = x.unbind(dim=-1)
    after = omega + DT * (GRAVITY * (theta + DT / 2 * omega).sin() + u)
    return torch.stack([theta + DT / 2 * (omega + after), after], dim=-1)


def linearised(x: Float[Tensor, "*B 2"]) -> tuple[Float[Tensor, "*B 2 2"], Float[Tensor, "*B 2 1"]]:
    """Return the derivatives of `step` with respect to x and u, which no torque changes."""
    theta, omega = x.unbind(dim=-1)
    c = DT * GRAVITY * (theta + DT / 2 * omega).cos()
    one = torch.ones_like(c)
    half = DT / 2
    rows = [1 + half * c, half * (2 + half * c), c, 1 + half * c]
    a = torch.stack(rows, dim=-1).unflatten(-1, (2, 2))
    return a, torch.stack([half * DT * one, DT * one], dim=-1)[..., None]


def costs(x: Float[Tensor, "*B 2"], u: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Return what a step costs."""
    theta, omega = x.unbind(dim=-1)
    return ANGLE * (1 - theta.cos()) + SPEED * omega**2 + TORQUE * u**2


def starts(
    count: int, *, torque: float, angle: float, generator: torch.Generator
) -> Float[Tensor, "count 2"]:
    """Return angles and angular velocities from which a torque can bring the pendulum back.

    Args:
        count: How many.
        torque: The largest torque; y is uniform on 90 % of what it can bring back.
        angle: The largest angle.
        generator: Draws them.

    Raises:
        ValueError: A number is outside its domain.
    """
    check_count("count", count)
    check_positive("torque", torque)
    check_positive("angle", angle)
    drawn = 2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1
    theta, y = angle * drawn[:, 0], MARGIN * torque / GRAVITY * drawn[:, 1]
    return torch.stack([theta, GRAVITY**0.5 * (y - theta)], dim=1)


def simulated(
    starts: Float[Tensor, "N 2"], torques: Float[Tensor, "N T"]
) -> tuple[Float[Tensor, "N S 2"], Float[Tensor, " N"]]:
    """Return the S = T + 1 states that torques lead through, and what all steps cost."""
    states, total = [starts], torch.zeros_like(starts[:, 0])
    for u in torques.unbind(dim=1):
        total = total + costs(states[-1], u)
        states.append(step(states[-1], u))
    return torch.stack(states, dim=1), total
