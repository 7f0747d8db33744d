"""The monotone equilibrium cell: well-posed at any size of its weights.

    z = sigma(W z + U x + b),    W = (1 - m) I - A'A + B - B'

I - W = m I + A'A - B + B' is at least m I whatever A and B are, and each W with I - W >= m I has
this form. Then z is unique, and 1/m bounds how fast it moves with U x + b. Source: Winston & Kolter
(2020), "Monotone operator equilibrium networks".
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_positive
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.vectors import check_scale, check_width, gaussian, injected, zeros
from deqlab.solvers.linear_operator import DenseOperator
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.proximal import Proximal, proximal
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.monotone import monotone


class MonotoneCell(Cell[Tensor]):
    """f(z, x) = sigma(W z + U x + b), with I - W >= margin I.

    Shapes: x (..., num_inputs), z (..., width), as in `nn.Linear`. U and b start as in `nn.Linear`;
    A and B start Gaussian with standard deviation `gain` / sqrt(width). All solvers take it; the
    splitting methods need it, and converge for every W.

    Args:
        num_inputs: Size of x.
        width: Size of z.
        margin: m, more than 0. The smaller it is, the more the cell can express and the slower its
            solves are.
        activation: sigma: a function of torch that is a proximal operator (`torch.relu`,
            `torch.tanh`, `torch.sigmoid`), or a `Proximal`.
        gain: Initial scale of A and B, 0 or more.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        margin: float = 0.1,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        gain: float = 0.5,
    ) -> None:
        super().__init__()
        check_width(num_inputs, width)
        check_positive("margin", margin)
        check_scale("gain", gain)
        self.width = width
        self.margin = margin
        self.activation: Proximal = proximal(activation)
        self.feedback = DenseOperator()  # an attribute: compilers follow these
        self.inject = nn.Linear(num_inputs, width)
        self.symmetric = gaussian(width, gain)
        self.skew = gaussian(width, gain)

    sample_dims = 1

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, from A = `symmetric` and B = `skew`."""
        with full_precision(self.symmetric, self.skew) as (a, b):
            eye = torch.eye(self.width, dtype=a.dtype, device=a.device)
            w = (1 - self.margin) * eye - a.mT @ a + b - b.mT
        return w.to(self.symmetric.dtype)

    @override
    def initial(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        return zeros(x, self.width)

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        return Prepared(shared=self.weight, rows=injected(self, self.inject, x))

    @property
    def update(self) -> MonotoneMap:  # type: ignore[override]
        """The map (z, W, U x + b) -> f(z, x), which shows its parts to the splitting methods."""
        return MonotoneMap(self.activation, self.feedback)

    @override
    def certificate(self) -> Certificate:
        """Return the margin of W as it is now: every proximal operator is 1-Lipschitz."""
        with torch.no_grad():
            return weights_not_finite(self) or monotone(self.weight)

    @override
    def extra_repr(self) -> str:
        return f"margin={self.margin}, activation={self.activation}"
