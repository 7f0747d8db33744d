"""The best plans for the pendulum, by sequential quadratic programs with bounds.

A plan minimises the costs of its T steps and x_T' P x_T, with P the cost of the regulator at the
upright equilibrium, which stands for all that comes after. Each program has the curvature of the
costs along the linearised dynamics (Gauss-Newton, kept positive), and its solution is approached
as far as the true cost falls. Source: Nocedal & Wright (2006), "Numerical Optimization", section
18.1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.control.box_qp import box_qp
from deqlab.control.riccati import lqr
from deqlab.errors import ConvergenceError
from deqlab.solvers.proximal import Box
from deqlab.tasks.pendulum import ANGLE, SPEED, TORQUE, linearised, simulated

MOST, SMALL = 200, 1e-7
"""Programs at most, and the change of a torque at which a plan is found."""

SHORTEST = 10
"""The shortest step is 2^-10 of the way to the solution of a program."""


def plans(
    starts: Float[Tensor, "N 2"], steps: int, *, torque: float
) -> tuple[Float[Tensor, "N T 2"], Float[Tensor, "N T"]]:
    """Return the states and the torques of the best plans.

    Args:
        starts: Angles and angular velocities, in float64, from which upright is reached directly.
        steps: T.
        torque: The largest torque.

    Raises:
        ConvergenceError: No plan was found.
    """
    p = upright()
    u, box = starts.new_zeros(len(starts), steps), Box(-torque, torque)
    for _ in range(MOST):
        states, _ = simulated(starts, u)
        h, g = program(states, u, p)
        best = box_qp(h, g - (h @ u[..., None])[..., 0], box).value
        moved = _searched(starts, u, best, p)
        if float((moved - u).abs().max()) < SMALL * torque:
            return states[:, :-1], u
        u = moved
    raise ConvergenceError(f"plans: the torques still change after {MOST} programs", None)


def upright() -> Float[Tensor, "2 2"]:
    """Return P, the cost of the regulator of the pendulum where it is upright."""
    a, b = linearised(torch.zeros(2, dtype=torch.float64))
    q = torch.diag(torch.tensor([ANGLE / 2, SPEED], dtype=torch.float64))
    return lqr(a, b, q, torch.tensor([[TORQUE]], dtype=torch.float64)).cost


def total(starts: Tensor, u: Float[Tensor, "N T"], p: Tensor) -> Float[Tensor, " N"]:
    """Return what a plan costs, with all that comes after it."""
    states, cost = simulated(starts, u)
    last = states[:, -1]
    return cost + ((last @ p) * last).sum(dim=-1)


def program(
    states: Float[Tensor, "N S 2"], u: Float[Tensor, "N T"], p: Float[Tensor, "2 2"]
) -> tuple[Float[Tensor, "N T T"], Float[Tensor, "N T"]]:
    """Return the curvature and the gradient of the cost of a plan in its torques.

    Args:
        states: Where they lead, S = T + 1 states with the first.
        u: The torques.
        p: See `upright`.
    """
    number, steps = u.shape
    a, b = linearised(states[:, :-1])
    h = 2 * TORQUE * torch.eye(steps, dtype=u.dtype).expand(number, -1, -1)
    g = 2 * TORQUE * u
    response = u.new_zeros(number, 2, steps)  # of the state to all torques
    for t in range(1, steps + 1):
        response = a[:, t - 1] @ response
        response[:, :, t - 1] += b[:, t - 1, :, 0]
        x = states[:, t]
        if t < steps:
            curved = torch.stack([ANGLE * x[:, 0].cos().clamp_min(0.1), 0 * x[:, 0] + 2 * SPEED], 1)
            weighted = curved[:, :, None] * response
            slope = torch.stack([ANGLE * x[:, 0].sin(), 2 * SPEED * x[:, 1]], dim=1)
        else:
            weighted, slope = 2 * p @ response, 2 * x @ p
        h = h + response.mT @ weighted
        g = g + (slope[:, None] @ response)[:, 0]
    return h, g


def _searched(starts: Tensor, u: Tensor, best: Tensor, p: Tensor) -> Tensor:
    """Return the plans on the way to `best` whose true cost is least, by halving."""
    shares = 0.5 ** torch.arange(SHORTEST + 1, dtype=u.dtype)
    every = u + shares[:, None, None] * (best - u)
    costs = total(starts.repeat(len(shares), 1), every.flatten(0, 1), p).view(len(shares), -1)
    least, at = costs.min(dim=0)
    chosen = every[at, torch.arange(len(u))]
    return torch.where((least < total(starts, u, p))[:, None], chosen, u)
