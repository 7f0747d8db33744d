"""The dense cell, whose weight may be constrained."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_kind
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import Unconstrained
from deqlab.nn.cells.vectors import (
    check_activation,
    check_scale,
    check_width,
    gaussian,
    injected,
    zeros,
)
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.slopes import slope_of


class DenseCell(Cell[Tensor]):
    """f(z, x) = phi(W z + U x + b), with W = constraint(V).

    Shapes: x (..., num_inputs), z (..., width), as in `nn.Linear`. U and b start as in `nn.Linear`;
    V starts Gaussian with standard deviation `gain` / sqrt(width), whose spectral radius is about
    `gain`.

    Args:
        num_inputs: Size of x.
        width: Size of z.
        activation: phi, elementwise. Contraction and well-posedness need it 1-Lipschitz.
        constraint: Module that maps the free V to W; see `nn.constraints`.
        gain: Initial scale of V, 0 or more.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        constraint: nn.Module | None = None,
        gain: float = 0.5,
    ) -> None:
        super().__init__()
        check_width(num_inputs, width)
        check_scale("gain", gain)
        check_activation(activation)
        if constraint is not None:
            check_kind("constraint", constraint, nn.Module, example="SpectralNorm(0.9)")
        self.width = width
        self.activation = activation
        self.constraint = Unconstrained() if constraint is None else constraint
        self.inject = nn.Linear(num_inputs, width)
        self.free = gaussian(width, gain)

    sample_dims = 1

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, the constrained matrix."""
        w: Tensor = self.constraint(self.free)
        return w

    @override
    def initial(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        return zeros(x, self.width)

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        return Prepared(shared=self.weight.mT, rows=injected(self, self.inject, x))

    @override
    def update(
        self,
        z: Float[Tensor, "B m"],
        shared: Float[Tensor, "m m"],
        rows: Float[Tensor, "B m"],
    ) -> Float[Tensor, "B m"]:
        return self.activation(torch.addmm(rows, z, shared))

    @override
    def certificate(self) -> Certificate:
        """Return what the constraint proves at W as it is now, or any theorem without one.

        Unknown where the Lipschitz constant of the activation is: see `stability.slope_of`.
        """
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        slope = slope_of(self.activation)
        if slope is None:
            return Certificate.unknown(
                f"the Lipschitz constant of {self.activation!r} is not known: use an activation "
                "that stability.slope_of knows, or give its constant to stability.best_certificate"
            )
        with torch.no_grad():
            weight = self.weight
        theorem = getattr(self.constraint, "theorem", Unconstrained().theorem)
        certificate: Certificate = theorem(weight, slope)
        return certificate
