"""The textbook convolutional cell: nothing but normalisation keeps it at its equilibrium.

    f(z, x) = relu(N(x + g B * relu(N(A * z) + b)) + c)

with free filters A and B and group normalisation N with the usual epsilon. It is the outer cell of
`nn.cells.conv` without operator norms; g is 1 unless a controller turns it down.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, group_norm
from typing_extensions import override

from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.knob import Knob, check_gain

GROUPS, HIGHEST = 4, 8.0


class TextbookCell(Cell[Tensor]):
    """The cell; x and z have the same shape (B, channels, H, W).

    Args:
        channels: Of x and z, a multiple of 4.
        gain: g at the start, from 0 to 8.
    """

    gain: Float[Tensor, ""]

    def __init__(self, channels: int, *, gain: float = 1.0) -> None:
        super().__init__()
        check_gain(gain, HIGHEST)
        self.channels = channels
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.register_buffer("gain", torch.tensor(float(gain)))

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=HIGHEST)

    @override
    def initial(self, x: Float[Tensor, "B c H W"]) -> Float[Tensor, "B c H W"]:
        return x

    @override
    def prepare(self, x: Float[Tensor, "B c H W"]) -> Prepared:
        shared = (
            self.first.weight,
            self.first.bias,
            self.gain * self.second.weight,
            self.second.bias,
        )
        return Prepared(shared=shared, rows=x)

    @override
    def update(
        self, z: Tensor, shared: tuple[Tensor, Tensor, Tensor, Tensor], rows: Tensor
    ) -> Tensor:
        a, b, scaled, c = shared
        inner = torch.relu(group_norm(conv2d(z, a, padding=1), GROUPS) + b[:, None, None])
        outer = group_norm(rows + conv2d(inner, scaled, padding=1), GROUPS)
        return torch.relu(outer + c[:, None, None])
