"""The diagonal linear DEQ, as a module and in closed form.

    z = w * z + u * x,    y = sum_i z_i = sum_i beta_i x_i,    beta_i = u_i / (1 - w_i)

with u = 1 where the input has no weights. It is the DEQ whose learning bias is known exactly: see
`potentials`. Source of the model: Wu et al. (2024), "Separation and Bias of Deep Equilibrium
Models on Expressivity and Learning Dynamics".
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.bias.parametrisations import check_well_posed
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import Dense
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.deq import DEQ
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.solvers.newton import Newton
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.triangular import diagonal

_EXACT = Newton()


class DiagonalCell(Cell[Tensor]):
    """f(z, x) = w * z + u * x, elementwise.

    Shapes: z and x (B, n).

    Args:
        w: Recurrent weights at the start, each below 1. Where |w| >= 1 iterating f diverges.
        u: Input weights at the start, which then train too; None is u = 1, fixed.

    Raises:
        ValueError: Some w is 1 or more.
    """

    def __init__(self, w: Float[Tensor, " n"], u: Float[Tensor, " features"] | None = None) -> None:
        super().__init__()
        if u is not None and u.shape != w.shape:
            raise ValueError(
                f"w and u need one weight per feature, got {tuple(w.shape)} and {tuple(u.shape)}"
            )
        self.w = nn.Parameter(w.detach().clone())
        self.u = None if u is None else nn.Parameter(u.detach().clone())
        self.check()

    def check(self) -> None:
        """Raise ValueError unless every w is below 1."""
        check_well_posed(self.w.detach().cpu().numpy())

    @property
    def coefficients(self) -> Float[Tensor, " n"]:
        """beta, in closed form."""
        gain = 1 / (1 - self.w)
        return gain if self.u is None else self.u * gain

    @override
    def initial(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        return x.new_zeros(x.shape)

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        self.check()
        if x.shape[1] != len(self.w):
            raise ValueError(f"x has {x.shape[1]} features and w {len(self.w)}; they must agree")
        return Prepared(shared=self.w, rows=x if self.u is None else self.u * x)

    @override
    def update(
        self, z: Float[Tensor, "B n"], shared: Float[Tensor, " n"], rows: Float[Tensor, "B n"]
    ) -> Float[Tensor, "B n"]:
        return shared * z + rows

    @override
    def certificate(self) -> Certificate:
        """Return what w as it is now proves: phi is the identity."""
        return weights_not_finite(self) or diagonal(self.w)


class DiagonalDEQ(nn.Module):
    """y = sum_i z_i at the equilibrium of a `DiagonalCell`, solved as any DEQ is.

    Training may take w to 1 or more, where there is no stable equilibrium: the next solve refuses.

    Args:
        w: Recurrent weights at the start; see `DiagonalCell`.
        u: Input weights at the start, or None.
        solver: The forward method. The default solves affine maps in one step, below w = -1 too,
            where iterating diverges.

    Example:
        >>> import torch
        >>> model = DiagonalDEQ(torch.tensor([0.5, 0.0]))
        >>> model(torch.tensor([[1.0, 1.0]]))
        tensor([3.], grad_fn=<SumBackward1>)
    """

    def __init__(
        self,
        w: Float[Tensor, " n"],
        u: Float[Tensor, " features"] | None = None,
        *,
        solver: Solver[Any] = _EXACT,
    ) -> None:
        super().__init__()
        self.cell = DiagonalCell(w, u)
        self.deq = DEQ(
            self.cell, solver=solver, gradient=Implicit(solver=Dense()), on_failure="raise"
        )

    @property
    def coefficients(self) -> Float[Tensor, " n"]:
        """beta, in closed form."""
        return self.cell.coefficients

    def solve(self, x: Float[Tensor, "B n"]) -> Solution:
        """Return the equilibrium z at x, with the verdict on every sample."""
        return self.deq.solve(x)

    @override
    def forward(self, x: Float[Tensor, "B n"]) -> Float[Tensor, " B"]:
        return self.solve(x).matrix.sum(dim=1)
