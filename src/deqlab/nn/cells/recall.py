"""A convolutional cell that reasons step by step, and sees its input at every step.

    h = U x + gain V z
    h <- h + B relu(A rms(h))    (each block)
    f(z, x) = rms(h)

U, V, A, B are convolutions of size 3 over one or two dimensions, and rms divides the channels at
each position by their root mean square. What is found at one place reaches the places beside it by
the next step, so that a long input wants more steps, and no weight knows how long it is. That the
input enters at every step ("recall") is what lets such networks be run longer than they were
trained without forgetting: Bansal et al. (2022), "End-to-end algorithm synthesis with recurrent
networks: extrapolation without overthinking"; theirs have no normalisation, and an identity branch
from z to f, which here is only what V learns of one.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu
from typing_extensions import override

from deqlab.arguments import check_count, check_number
from deqlab.nn.attention import EPS
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.knob import Knob
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.fixed_point_theorems import maps_into_itself

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}


class RecallBlock(nn.Module):
    """h + B relu(A rms(h)).

    Shapes: (B, channels, *positions) to the same.

    Args:
        channels: Of h.
        dims: How many dimensions positions have: 1 or 2.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.inner = convolution(channels, channels, dims)
        self.outer = convolution(channels, channels, dims)

    @override
    def forward(self, h: Float[Tensor, "B c *positions"]) -> Float[Tensor, "B c *positions"]:
        out: Tensor = h + self.outer(relu(self.inner(unit(h))))
        return out


class RecallCell(Cell[Tensor]):
    """f(z, x) = normalised convolutional blocks at U x + gain V z.

    Shapes: x (..., inputs, *positions), z (..., channels, *positions), with one or two dimensions
    of positions, of any sizes. A solve starts at zeros.

    Args:
        inputs: Channels of x.
        channels: Channels of z.
        dims: How many dimensions positions have: 1 or 2.
        blocks: How many blocks stand in a row inside of f.
        gain: Of the feedback, from 0 to 1; the knob of the cell.
    """

    gain: Tensor

    def __init__(
        self, inputs: int, channels: int, *, dims: int = 1, blocks: int = 2, gain: float = 1.0
    ) -> None:
        super().__init__()
        for name, count in (("inputs", inputs), ("channels", channels), ("blocks", blocks)):
            check_count(name, count)
        if dims not in CONVOLUTIONS:
            raise ValueError(f"dims must be 1 or 2, got {dims}")
        check_number("gain", gain)
        if not 0 <= gain <= 1:
            raise ValueError(f"gain must be from 0 to 1, got {gain}")
        self.inputs, self.channels, self.dims = inputs, channels, dims
        self.sample_dims = 1 + dims
        self.injection = convolution(inputs, channels, dims)
        self.recurrence = convolution(channels, channels, dims, bias=False)
        self.blocks = nn.ModuleList(RecallBlock(channels, dims) for _ in range(blocks))
        self.register_buffer("gain", torch.tensor(float(gain)))

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=1.0)

    @override
    def initial(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        self._check(x)
        front, positions = x.shape[: -1 - self.dims], x.shape[-self.dims :]
        return x.new_zeros(*front, self.channels, *positions)

    @override
    def prepare(self, x: Float[Tensor, "B n *positions"]) -> Prepared:
        self._check(x)
        weight: Tensor = self.recurrence.weight
        return Prepared(shared=self.gain * weight, rows=self.injection(x))

    @override
    def update(self, z: Tensor, shared: Any, rows: Any) -> Tensor:
        fed = self._convolve(z, shared)
        h: Tensor = rows + fed
        for block in self.blocks:
            h = block(h)
        return unit(h)

    @override
    def certificate(self) -> Certificate:
        """Return that a fixed point exists for every x; whether it is the only one is not known."""
        return weights_not_finite(self) or maps_into_itself(
            "the set of states with root mean square at most 1 at every position"
        )

    def _convolve(self, z: Tensor, weight: Tensor) -> Tensor:
        if self.dims == 1:
            return nn.functional.conv1d(z, weight, padding=1)
        return nn.functional.conv2d(z, weight, padding=1)

    def _check(self, x: Tensor) -> None:
        if x.ndim <= self.dims or x.shape[-1 - self.dims] != self.inputs:
            where = ", ".join(["length"] if self.dims == 1 else ["height", "width"])
            raise ValueError(
                f"RecallCell takes x of shape (..., {self.inputs}, {where}), got {tuple(x.shape)}"
            )

    @override
    def extra_repr(self) -> str:
        return f"inputs={self.inputs}, channels={self.channels}, gain={self.gain.item():.3g}"


def convolution(
    inputs: int, channels: int, dims: int, *, bias: bool = True
) -> nn.Conv1d | nn.Conv2d:
    """Return a convolution of size 3 that keeps the size."""
    return CONVOLUTIONS[dims](inputs, channels, 3, padding=1, bias=bias)


def unit(h: Float[Tensor, "B c *positions"]) -> Float[Tensor, "B c *positions"]:
    """Return h with its channels at each position divided by their root mean square."""
    return h * (h.square().mean(dim=1, keepdim=True) + EPS).rsqrt()
