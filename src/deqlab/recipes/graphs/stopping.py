"""The iteration of the published IGNN, which ends where no entry changes by more than 3e-6.

    z_{k+1} = f(z_k)    until max |z_{k+1} - z_k| < tolerance,    and so the adjoint equation

An absolute tolerance is blind to what is small everywhere. Along a chain with A = D^-1/2 (A + I)
D^-1/2 and a feedback of size w a node keeps w / 2 of itself and takes w / 2 from the one before:

    z_j = (w / 2) (z_j + z_{j-1}),    so that    z_j = h z_{j-1},    h = w / (2 - w)

With w = .9 a hop passes h = .818 of the signal: after 63 hops 3e-6 of it are left. With v = D^1/2
the k-th change is at most w^(k-1) v, and nearly that near the first node, so that the iteration
ends at the first k with sqrt(2) w^(k-1) <= 3e-6, which is 125 for features of size 1. What
arrives at a node has stayed at each one before for 1 / (1 - w / 2) = 1.8 steps in the mean:
states are complete up to (1 - w / 2) k = 69 hops, cut off beyond, and exactly 0 after k + 1 hops.
A smaller feedback ends earlier: w = .8 after 60 steps, complete up to 36 hops. Source of the
loop: the code of Gu et al. (2020), "Implicit graph neural networks"; the derivation is deqlab's.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.nn.cells.graph import ImplicitGraphCell
from deqlab.nn.graph import Graph

MOST_STEPS = 300
"""As published, forward and backward."""


class AbsoluteStop(nn.Module):
    """The states of an IGNN where its published iteration ends, with its published gradient.

    Args:
        cell: The cell.
        tolerance: The largest change of an entry at which it ends; 0 ends where nothing changes.
        max_steps: Steps of the iteration, at most; so many for the adjoint as well.

    Attributes:
        steps: How many the last call took.
    """

    def __init__(
        self, cell: ImplicitGraphCell, *, tolerance: float = 3e-6, max_steps: int = MOST_STEPS
    ) -> None:
        super().__init__()
        self.cell = cell
        self.tolerance, self.max_steps = tolerance, max_steps
        self.steps = 0

    @override
    def forward(self, x: Float[Tensor, "N n"], graph: Graph) -> Float[Tensor, "N m"]:
        prepared = self.cell.prepare(x[None], graph)

        def f(z: Tensor) -> Tensor:
            return self.cell.update(z, prepared.shared, prepared.rows)

        with torch.no_grad():
            z, self.steps = self._iterated(f, self.cell.initial(x[None], graph))
        if not torch.is_grad_enabled():
            return f(z)[0]
        z = f(z)
        at = z.detach().requires_grad_()
        image = f(at)

        def adjoint(u: Tensor) -> Tensor:
            def step(v: Tensor) -> Tensor:
                return torch.autograd.grad(image, at, v, retain_graph=True)[0] + u

            return self._iterated(step, u)[0]

        z.register_hook(adjoint)
        return z[0]

    def _iterated(self, f: Any, z: Tensor) -> tuple[Tensor, int]:  # noqa: ANN401
        for step in range(1, self.max_steps + 1):
            before, z = z, f(z)
            if float((z - before).abs().max()) <= self.tolerance:
                return z, step
        return z, self.max_steps
