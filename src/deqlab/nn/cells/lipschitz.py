"""The Lipschitz-bounded equilibrium cell: z* moves with x by no more than a bound set beforehand.

    z = sigma(W z + U x + b),
    Lambda (I - W) = (I / g + Lambda U U' Lambda / g + V'V) / 2 + S - S',

with g the bound, Lambda a positive diagonal matrix, and V, S, U, Lambda free, but that the entries
of Lambda stay within exp(-2) and exp(2), so that rounding takes nothing of what is proved. Then

    2 Lambda - Lambda W - W' Lambda >= (I + Lambda U U' Lambda) / g > 0,

which has two consequences for every nondecreasing 1-Lipschitz sigma: there is one fixed point, and
|z*(x) - z*(x')| <= g |x - x'|. I - W is monotone in the inner product u' Lambda v, in which an
elementwise proximal operator is what it was: the splitting methods converge. Source: Revay, Wang &
Manchester (2020), "Lipschitz bounded equilibrium networks", Theorems 1 and 2, with the state itself
as the output.
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

LARGEST = 2.0
"""What the logarithm of an entry of Lambda stays below."""


class LipschitzCell(Cell[Tensor]):
    """f(z, x) = sigma(W z + U x + b), whose fixed point is `bound`-Lipschitz in x.

    Shapes: x (..., num_inputs), z (..., width), as in `nn.Linear`. U and b start as in `nn.Linear`;
    V and S start Gaussian with standard deviation `gain` / sqrt(width). A readout y = C z is
    |C| bound-Lipschitz. All solvers take the cell, the splitting methods as well.

    Args:
        num_inputs: Size of x.
        width: Size of z.
        bound: The Lipschitz bound in the Euclidean norm, more than 0.
        activation: sigma, as in `MonotoneCell`.
        gain: Initial scale of V and S, 0 or more.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        bound: float = 1.0,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        gain: float = 0.5,
    ) -> None:
        super().__init__()
        check_width(num_inputs, width)
        check_positive("bound", bound)
        check_scale("gain", gain)
        self.width = width
        self.bound = bound
        self.activation: Proximal = proximal(activation)
        self.feedback = DenseOperator()  # an attribute: compilers follow these
        self.inject = nn.Linear(num_inputs, width)
        self.symmetric = gaussian(width, gain)
        self.skew = gaussian(width, gain)
        self.log_metric = nn.Parameter(torch.zeros(width))

    sample_dims = 1

    @property
    def metric(self) -> Float[Tensor, " m"]:
        """The diagonal of Lambda."""
        return (LARGEST * torch.tanh(self.log_metric / LARGEST)).exp()

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, from V = `symmetric`, S = `skew`, Lambda = `metric` and U."""
        free = (self.symmetric, self.skew, self.metric, self.inject.weight)
        with full_precision(*free) as (v, s, metric, u):
            eye = torch.eye(self.width, dtype=v.dtype, device=v.device)
            scaled = metric[:, None] * u
            symmetric = (eye + scaled @ scaled.mT) / self.bound + v.mT @ v
            w = eye - (symmetric / 2 + s - s.mT) / metric[:, None]
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
    @torch.no_grad()
    def certificate(self) -> Certificate:
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        w, u = self.weight.double(), self.inject.weight.double()
        metric = self.metric.double()[:, None]
        slack = 2 * torch.diag(metric[:, 0]) - metric * w - (metric * w).mT
        scaled = metric * u
        least = float(torch.linalg.eigvalsh(slack)[0])
        # At least 1 / bound but for rounding; m |dz|^2 <= bound |dx|^2 for the moves of z* and x.
        left = float(torch.linalg.eigvalsh(slack - scaled @ scaled.mT / self.bound)[0])
        if not left > 0:
            return Certificate.unknown(
                f"the matrix inequality of {type(self).__name__} is lost to rounding: its least "
                f"eigenvalue is {left:.1e}; compute in a wider dtype, or raise bound"
            )
        largest = float(metric.max())
        return Certificate(
            theorem="2 Lambda - Lambda W - W' Lambda > 0 by parametrisation: one fixed point, "
            f"{(self.bound / left) ** 0.5:.6g}-Lipschitz in x (Revay, Wang & Manchester 2020, "
            "Theorems 1 and 2)",
            holds=True,
            margin=least,
            exists=True,
            unique=True,
            # d' (2 Lambda - Lambda W - W' Lambda) d <= 2 d' Lambda dq, for the moves d of z*.
            lipschitz=2 * largest / least,
            perturbation=least / (2 * largest),
        )

    @override
    def extra_repr(self) -> str:
        return f"bound={self.bound}, activation={self.activation}"
