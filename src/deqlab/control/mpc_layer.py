"""Predictive control within bounds as a layer of a network, whose solves a convergence log sees."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.control.box_qp import EXACT, BoxQPCell
from deqlab.control.mpc import bounds_of, condense
from deqlab.gradients.base import Gradient
from deqlab.nn.deq import DEQ
from deqlab.solvers.base import Solver
from deqlab.solvers.newton import Newton
from deqlab.solvers.proximal import Box

NEWTON = Newton(rtol=1e-5)
"""It ends exactly, up to rounding."""


class MPCLayer(nn.Module):
    """`box_mpc` as a module: systems, costs and states to the best inputs within bounds.

    Args:
        box: The bounds of u_t, as in `box_mpc`.
        num_inputs: m.
        horizon: T.
        solver: As in `box_qp`.
        gradient: As in `box_qp`.

    Attributes:
        deq: The layer whose equilibrium are the inputs of a horizon; `deq.last` has the verdicts.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> layer = MPCLayer(Box(-1.0, 1.0), 1, horizon=5)
        >>> layer(one, one, one, one, torch.tensor([[4.0], [0.1]]))[:, 0].round(decimals=3)
        tensor([[-1.0000],
                [-0.0620]])
    """

    def __init__(
        self,
        box: Box,
        num_inputs: int,
        *,
        horizon: int,
        solver: Solver[Any] = NEWTON,
        gradient: Gradient = EXACT,
    ) -> None:
        super().__init__()
        check_count("num_inputs", num_inputs)
        check_count("horizon", horizon)
        self.num_inputs, self.horizon = num_inputs, horizon
        whole = bounds_of(box, horizon, num_inputs)
        self.deq = DEQ(BoxQPCell(whole), solver=solver, gradient=gradient)

    @override
    def forward(
        self,
        a: Float[Tensor, "..."],
        b: Float[Tensor, "..."],
        q: Float[Tensor, "..."],
        r: Float[Tensor, "..."],
        x0: Float[Tensor, "..."],
        terminal: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "..."]:
        """Return u_0, ..., u_{T-1}, (..., T, m), from each start; arguments are of `box_mpc`."""
        program = condense(a, b, q, r, x0, horizon=self.horizon, terminal=terminal)
        h, g = program.hessian, program.linear
        leading = torch.broadcast_shapes(h.shape[:-2], g.shape[:-1])
        size = g.shape[-1]
        h = h.expand(*leading, size, size).reshape(-1, size, size)
        u = self.deq(h, g.expand(*leading, size).reshape(-1, size))
        return u.reshape(*leading, self.horizon, self.num_inputs)
