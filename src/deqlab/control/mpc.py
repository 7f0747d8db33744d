"""Model predictive control of linear systems with bounded inputs.

    minimise   sum_{t < T} (x_t' Q x_t + u_t' R u_t) + x_T' P x_T
    subject to x_{t+1} = A x_t + B u_t,    lower <= u_t <= upper.

The states are linear in x_0 and the inputs, (x_1, ..., x_T) = F x_0 + S u, so that what is left is
a quadratic program in the T m inputs, whose only constraints are their bounds (see `box_qp`):

    H = 2 (S' Q S + R),    g = 2 S' Q F x_0,

with Q, R block diagonal over the horizon. Source: Rawlings, Mayne & Diehl (2017), "Model Predictive
Control", section 8.8 (condensing). The condition of H grows with powers of an unstable A: shorten
the horizon, and let P be the cost of `lqr`, which stands for all that comes after.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import check_count
from deqlab.control.box_qp import EXACT, box_qp
from deqlab.control.systems import (
    check_definite,
    check_shapes,
    state_and_input_sizes,
    symmetric,
)
from deqlab.gradients.base import Gradient
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.solvers.proximal import Box


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The best inputs over a horizon, from each start.

    Attributes:
        inputs: u_0, ..., u_{T-1}, (..., T, m), with gradients.
        states: x_1, ..., x_T, (..., T, n), which the inputs lead to, with gradients.
        solution: The verdicts of the solve.
    """

    inputs: Tensor
    states: Tensor
    solution: Solution[None]


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """The quadratic program of a horizon.

    Attributes:
        hessian: H, (..., T m, T m).
        linear: g, (..., T m).
        free: F x_0: the states if no input is given, (..., T, n).
        response: S, (..., T n, T m).
    """

    hessian: Tensor
    linear: Tensor
    free: Tensor
    response: Tensor


def condense(
    a: Float[Tensor, "..."],
    b: Float[Tensor, "..."],
    q: Float[Tensor, "..."],
    r: Float[Tensor, "..."],
    x0: Float[Tensor, "..."],
    *,
    horizon: int,
    terminal: Float[Tensor, "..."] | None = None,
) -> Condensed:
    """Return the quadratic program of a horizon; see `box_mpc`."""
    check_count("horizon", horizon)
    n, m = state_and_input_sizes(a, b)
    last = q if terminal is None else terminal
    named = {"A": a, "B": b, "Q": q, "R": r, "x0": x0, "terminal": last}
    shapes = {"A": (n, n), "B": (n, m), "Q": (n, n), "R": (m, m), "x0": (n,), "terminal": (n, n)}
    check_shapes(named, shapes)
    q, r, last = symmetric(q), symmetric(r), symmetric(last)
    for name, cost in (("Q", q), ("R", r), ("terminal", last)):
        check_definite(name, cost, strictly=name == "R")
    # Blocks of the response stand side by side, and so have the same leading dimensions.
    powers = [b.expand(*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), n, m)]  # A^t B
    free = [(a @ x0[..., None])[..., 0]]
    for _ in range(horizon - 1):
        powers.append(a @ powers[-1])
        free.append((a @ free[-1][..., None])[..., 0])
    zero = torch.zeros_like(powers[0])
    response = torch.cat(
        [torch.cat([*powers[t::-1], *[zero] * (horizon - 1 - t)], -1) for t in range(horizon)], -2
    )
    states = torch.stack(free, dim=-2)
    # Q S, one block of rows a step, with the terminal cost in the last.
    blocks = response.unflatten(-2, (horizon, n))
    costs = torch.stack(torch.broadcast_tensors(*[q] * (horizon - 1), last), dim=-3)
    weighted = (costs @ blocks).flatten(-3, -2)
    eye = torch.eye(horizon, dtype=r.dtype, device=r.device)
    inputs = (eye[:, None, :, None] * r[..., None, :, None, :]).flatten(-2).flatten(-3, -2)
    hessian = 2 * (response.mT @ weighted + inputs)
    linear = 2 * (weighted.mT @ states.flatten(-2)[..., None])[..., 0]
    return Condensed(hessian=hessian, linear=linear, free=states, response=response)


def box_mpc(
    a: Float[Tensor, "..."],
    b: Float[Tensor, "..."],
    q: Float[Tensor, "..."],
    r: Float[Tensor, "..."],
    x0: Float[Tensor, "..."],
    box: Box,
    *,
    horizon: int,
    terminal: Float[Tensor, "..."] | None = None,
    solver: Solver[Any] | None = None,
    gradient: Gradient = EXACT,
) -> Plan:
    """Return the best inputs within bounds, differentiable in the system, its costs and x_0.

    Leading dimensions are broadcast: one system and many starts, or a system for each.

    Args:
        a: A, (..., n, n).
        b: B, (..., n, m).
        q: Q, (..., n, n), positive semidefinite.
        r: R, (..., m, m), positive definite.
        x0: The state, (..., n), at the start.
        box: The bounds of u_t, each a number or a tensor of shape (m,) or (T, m).
        horizon: T, at least 1.
        terminal: P, (..., n, n), positive semidefinite; None is Q.
        solver: As in `box_qp`.
        gradient: As in `box_qp`.

    Raises:
        ValueError: A shape is wrong, or a cost is not definite.
        ConvergenceError: A program missed the tolerance.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> x0 = torch.tensor([[4.0], [0.1]])
        >>> plan = box_mpc(one, one, one, one, x0, Box(-1.0, 1.0), horizon=5)
        >>> plan.inputs[:, 0].round(decimals=3)
        tensor([[-1.0000],
                [-0.0620]])
    """
    program = condense(a, b, q, r, x0, horizon=horizon, terminal=terminal)
    n, m = state_and_input_sizes(a, b)
    flat = bounds_of(box, horizon, m)
    solution = box_qp(program.hessian, program.linear, flat, solver=solver, gradient=gradient)
    u = solution.value
    moved = (program.response @ u[..., None])[..., 0].unflatten(-1, (horizon, n))
    return Plan(
        inputs=u.unflatten(-1, (horizon, m)),
        states=program.free + moved,
        solution=solution.verdicts(),
    )


def bounds_of(box: Box, horizon: int, m: int) -> Box:
    """Return the bounds of all inputs of a horizon, as one vector where they are tensors."""

    def whole(name: str, bound: float | Tensor) -> float | Tensor:
        if not isinstance(bound, Tensor):
            return bound
        if tuple(bound.shape) not in {(), (m,), (horizon, m)}:
            raise ValueError(
                f"{name} must be a number, or have the shape ({m},) or ({horizon}, {m}), got "
                f"{tuple(bound.shape)}"
            )
        return bound.expand(horizon, m).flatten()

    return Box(whole("lower", box.lower), whole("upper", box.upper))
