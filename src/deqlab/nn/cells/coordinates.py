"""Cells of coordinates: what stands at a point, such as the grey of a picture, as a fixed point.

    SineCell      f(z, x) = sin(W z + p(x))             W = g V / max(1, |V|_2)
    FilterCell    f(z, x) = sin(p(x)) * (W z + c)       p(x) = s (U x + b)

Every point x of the plane has a state of its own. The sine of p(x) has the frequencies of the
picture, and s says how high they begin. Both maps are |W|_2-Lipschitz in z, for the sine is
1-Lipschitz and no filter is above 1. The gain g is the knob: |W|_2 is at most g, which is at most
`cap`. Below 1 f is proved to contract. Above 1 nothing is proved, and yet f often does: the slopes
of a sine are the cosines of its phases, small at many of them. Sources: Huang, Bai & Kolter (2021),
"(Implicit)^2: Implicit Layers for Implicit Representations", section 3, there with a filter of its
own for the start; scale and first weights of p: Sitzmann et al. (2020), "Implicit Neural
Representations with Periodic Activation Functions", section 3.2.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_positive
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import SpectralNorm
from deqlab.nn.cells.vectors import check_width, gaussian, injected, zeros
from deqlab.nn.knob import Knob, check_gain
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.norms import two_norm


class Phases(nn.Linear):
    """p(x) = scale (U x + b), whose sine begins with random frequencies and phases.

    U is uniform within `bound`, and scale b within pi.

    Args:
        num_inputs: Size of x.
        width: Phases for each x.
        scale: s, more than 0. Coordinates from -1 to 1 turn a phase by 2 s |U x| at most.
        bound: The largest entry of U at first; None is 1 / num_inputs.
    """

    def __init__(
        self, num_inputs: int, width: int, *, scale: float = 30.0, bound: float | None = None
    ) -> None:
        check_width(num_inputs, width)
        check_positive("scale", scale)
        super().__init__(num_inputs, width)
        self.scale = scale
        bound = 1 / num_inputs if bound is None else bound
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -math.pi / scale, math.pi / scale)

    @override
    def forward(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        return self.scale * super().forward(x)

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scale={self.scale:g}"


class CoordinateCell(Cell[Tensor]):
    """What both cells share: W, its knob and its certificate, and the phases of x.

    Shapes: x (..., num_inputs), z (..., width). A solve starts at zeros.

    Args:
        num_inputs: Size of x.
        width: Size of z.
        scale: s of p(x), more than 0.
        gain: g at first, from 0 to `cap`.
        cap: The largest gain; below 1 f is certified to contract at all weights.
    """

    sample_dims = 1
    rate_factors: ClassVar[Mapping[str, float]] = {
        "free": 10.0
    }  # phases learn `scale` times as fast
    gain: Tensor

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        scale: float = 30.0,
        gain: float = 0.9,
        cap: float = 0.97,
    ) -> None:
        super().__init__()
        check_gain(gain, cap)
        self.width, self.cap = width, cap
        self.inject = Phases(num_inputs, width, scale=scale)
        self.free = gaussian(width, 0.5)  # a norm of about 1
        self.constraint = SpectralNorm(1.0)
        self.register_buffer("gain", torch.tensor(float(gain)))

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, whose spectral norm is at most the gain."""
        w: Tensor = self.gain * self.constraint(self.free)
        return w

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=self.cap)

    @override
    def initial(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        return zeros(x, self.width)

    @torch.no_grad()
    def contracts(self) -> Certificate:
        """Return what the spectral norm of W proves of a map that is |W|_2-Lipschitz in z."""
        return weights_not_finite(self) or two_norm(self.weight)

    @override
    def extra_repr(self) -> str:
        return f"cap={self.cap:g}"


class SineCell(CoordinateCell):
    """f(z, x) = sin(W z + p(x)); see `CoordinateCell` for the arguments."""

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        return Prepared(shared=self.weight.mT, rows=injected(self, self.inject, x))

    @override
    def update(
        self, z: Float[Tensor, "B m"], shared: Float[Tensor, "m m"], rows: Float[Tensor, "B m"]
    ) -> Float[Tensor, "B m"]:
        return torch.addmm(rows, z, shared).sin_()

    @override
    def certificate(self) -> Certificate:
        """Return what the spectral norm of W proves: a sine is 1-Lipschitz."""
        return self.contracts()


class FilterCell(CoordinateCell):
    """f(z, x) = sin(p(x)) * (W z + c): a multiplicative filter network of one layer.

    It is linear in z: a fixed point is a sum over k of products of k sines, in which W decides how
    fast long ones fade. See `CoordinateCell` for the arguments.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        scale: float = 30.0,
        gain: float = 0.9,
        cap: float = 0.97,
    ) -> None:
        super().__init__(num_inputs, width, scale=scale, gain=gain, cap=cap)
        self.constant = nn.Parameter(torch.randn(width))

    @override
    def prepare(self, x: Float[Tensor, "B n"]) -> Prepared:
        filters = injected(self, self.inject, x).sin()
        return Prepared(shared=(self.weight.mT, self.constant), rows=filters)

    @override
    def update(
        self,
        z: Float[Tensor, "B m"],
        shared: tuple[Float[Tensor, "m m"], Float[Tensor, " m"]],
        rows: Float[Tensor, "B m"],
    ) -> Float[Tensor, "B m"]:
        weight, constant = shared
        return torch.addmm(constant, z, weight).mul_(rows)

    @override
    def certificate(self) -> Certificate:
        """Return what the spectral norm of W proves: no filter is above 1."""
        return self.contracts()
