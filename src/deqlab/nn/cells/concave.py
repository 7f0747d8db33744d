"""The positive concave cell: one fixed point at any weights, for they are not negative.

    z = sigma(W z + q),    W = |V| >= 0,    q = softplus(U x + b) + floor > 0,

with sigma nondecreasing, bounded, concave on [0, inf), and sigma(u) > 0 for u > 0. Then f maps
z >= 0 to z > 0 and is concave: a standard interference mapping, which has one fixed point at most.
As sigma is bounded, f(t z) / t goes to 0, and there is one, however large W is; Picard iteration
converges to it geometrically from every z >= 0. Source: Gabor, Piotrowski & Cavalcante (2024),
"Positive concave deep equilibrium models".

How fast, derived here: with t = sigma(floor) / sup sigma, concavity gives

    f(c z) <= (t + (1 - t) c) f(z),    c >= 1,    for t <= f(0) / f(z) in every entry.

From the first image on iterates lie between sigma(floor) and sup sigma, so that log c <= log(1/t)
in Thompson's metric, max |log z_i - log z'_i|. log(t + (1 - t) c) is convex in log c, and 0 at 0:
the factor of one step is at most its quotient with log c at the far end,
log(t + (1 - t) / t) / log(1/t).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu6, softplus, softsign
from typing_extensions import override

from deqlab.arguments import check_positive
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.vectors import check_scale, check_width, gaussian, injected, zeros
from deqlab.stability.certificate import Certificate, weights_not_finite

SUPREMA: tuple[tuple[Callable[[Tensor], Tensor], float], ...] = (
    (torch.tanh, 1.0),
    (torch.sigmoid, 1.0),
    (softsign, 1.0),
    (relu6, 6.0),
)
"""Activations that are concave where they are not negative, and what they stay below."""


class ConcaveCell(Cell[Tensor]):
    """f(z, x) = sigma(|V| z + softplus(U x + b) + floor), whose fixed point is positive.

    Shapes: x (..., num_inputs), z (..., width), as in `nn.Linear`. U and b start as in `nn.Linear`;
    V starts Gaussian with standard deviation `gain` / width, so that the spectral radius of |V| is
    about .8 `gain`. The nearer entries of z are to the bound of sigma, the less they feel W.

    Args:
        num_inputs: Size of x.
        width: Size of z.
        activation: sigma: `torch.tanh`, `torch.sigmoid`, `torch.nn.functional.softsign` or
            `torch.nn.functional.relu6`.
        floor: What is added to q at least, more than 0.
        gain: Initial scale of V, 0 or more.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        floor: float = 0.01,
        gain: float = 0.5,
    ) -> None:
        super().__init__()
        check_width(num_inputs, width)
        check_positive("floor", floor)
        check_scale("gain", gain)
        known = [supremum for function, supremum in SUPREMA if activation is function]
        if not known:
            raise TypeError(
                f"ConcaveCell needs an activation that is bounded, and concave on [0, inf): "
                "torch.tanh, torch.sigmoid, torch.nn.functional.softsign or "
                f"torch.nn.functional.relu6, got {activation!r}"
            )
        self.width = width
        self.activation, self.supremum = activation, known[0]
        self.floor = floor
        self.inject = nn.Linear(num_inputs, width)
        self.free = gaussian(width, gain / width**0.5)

    sample_dims = 1

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, from V = `free`."""
        return self.free.abs()

    @override
    def initial(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        return zeros(x, self.width)

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        rows = softplus(injected(self, self.inject, x)) + self.floor
        return Prepared(shared=self.weight.mT, rows=rows)

    @override
    def update(
        self,
        z: Float[Tensor, "B m"],
        shared: Float[Tensor, "m m"],
        rows: Float[Tensor, "B m"],
    ) -> Float[Tensor, "B m"]:
        return self.activation(torch.addmm(rows, z, shared))

    @override
    @torch.no_grad()
    def certificate(self) -> Certificate:
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        t = float(self.activation(torch.tensor(self.floor, dtype=torch.float64))) / self.supremum
        return Certificate(
            theorem="f is positive, concave and bounded on z >= 0: one fixed point there (Gabor, "
            "Piotrowski & Cavalcante 2024); rate in Thompson's metric, from the first image on",
            holds=True,
            margin=self.floor,
            exists=True,
            unique=True,
            rate=math.log(t + (1 - t) / t) / -math.log(t),
            # No entry of W falls below 0 by a change of a smaller norm.
            perturbation=float(self.weight.min()),
        )

    @override
    def extra_repr(self) -> str:
        name = getattr(self.activation, "__name__", repr(self.activation))
        return f"activation={name}, floor={self.floor}"
