"""The multiscale cell: a state of feature maps at several resolutions, found all at once.

At each resolution i = 1, ..., n, from the finest to the coarsest, with * a convolution and N group
normalisation without weights of its own,

    h_i = relu(q_i + B_i * relu(N(A_i * z_i))),    q_i = N(U_i * pool_i(x) + b_i)
    f_i = relu(N(h_i + D_i * h_(i-1) + up(E_i * h_(i+1))))

A residual block and the injected input make h_i. Then neighbouring resolutions exchange: D_i takes
every second pixel of the finer map, E_i is a 1 x 1 convolution, up repeats pixels. Coarser maps
have half the pixels in each direction, and pool_i averages x to the resolution. Source: Bai,
Koltun & Kolter (2020), "Multiscale Deep Equilibrium Models"; there all pairs of resolutions
exchange and x enters at the finest only: at the equilibrium neighbours pass it on all the same.

What keeps the iteration stable is derived here: each filter of B has the norm `gain`, each of D and
E the norm 1 (weight normalisation, Salimans & Kingma 2016, at fixed norms), and q has variance 1.
So the state enters h at a fixed size relative to the input, and weights grow in no direction that
the normalisation would hide from weight decay. Everything works on one sample at a time.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, group_norm, interpolate
from typing_extensions import override

from deqlab.arguments import check_count, check_number
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.channels import check_channels

Maps = tuple[Tensor, ...]
"""One feature map a resolution, the finest first."""


class Filters(NamedTuple):
    """The filters of all resolutions, at the norms that they have in f."""

    first: list[Tensor]  # A
    second: list[Tensor]  # B
    down: list[Tensor]  # D
    up: list[Tensor]  # E


class MultiscaleCell(Cell[Maps]):
    """f(z, x) for a state of feature maps, each of half the resolution of the one before.

    Shapes: x (B, num_inputs, H, W); z is a tuple of (B, channels[i], H / 2^i, W / 2^i). H and W
    are multiples of 2^(n - 1), for n resolutions.

    Args:
        num_inputs: Channels of x.
        channels: Those of the state, the finest resolution first; multiples of `groups`.
        groups: The number of groups of the normalisation, at each resolution.
        gain: Norm of the filters through which the state returns, more than 0. The larger it is,
            the more the network computes in its iterations, and the more of them a solve takes.
    """

    def __init__(
        self, num_inputs: int, channels: Sequence[int], *, groups: int = 4, gain: float = 0.4
    ) -> None:
        super().__init__()
        check_count("num_inputs", num_inputs)
        check_channels(channels, groups)
        check_number("gain", gain)
        if not 0 < gain < float("inf"):
            raise ValueError(f"gain must be more than 0, and finite, got {gain}")
        self.channels = tuple(channels)
        self.groups = groups
        self.gain = gain
        self.inject = nn.ModuleList(nn.Conv2d(num_inputs, c, 3, padding=1) for c in channels)
        self.first = _filters((c, c, 3) for c in channels)
        self.second = _filters((c, c, 3) for c in channels)
        self.down = _filters((d, c, 3) for c, d in pairwise(channels))
        self.up = _filters((c, d, 1) for c, d in pairwise(channels))

    @override
    def initial(self, x: Float[Tensor, "B n H W"]) -> Maps:
        self._check(x)
        batch, _, height, width = x.shape
        return tuple(
            x.new_zeros(batch, c, height >> i, width >> i) for i, c in enumerate(self.channels)
        )

    @override
    def prepare(self, x: Float[Tensor, "B n H W"]) -> Prepared:
        self._check(x)
        filters = Filters(
            first=[_unit(w) for w in self.first],
            second=[self.gain * _unit(w) for w in self.second],
            down=[_unit(w) for w in self.down],
            up=[_unit(w) for w in self.up],
        )
        injected = []
        for i, inject in enumerate(self.inject):
            injected.append(self._normalised(inject(avg_pool2d(x, 2**i) if i else x)))
        return Prepared(shared=filters, rows=injected)

    @override
    def update(self, z: Maps, shared: "Filters", rows: Sequence[Tensor]) -> Maps:
        first, second, down, up = shared
        n = len(self.channels)
        h = [
            torch.relu(
                rows[i] + _same(torch.relu(self._normalised(_same(z[i], first[i]))), second[i])
            )
            for i in range(n)
        ]
        fused = []
        for i in range(n):
            total = h[i]
            if i > 0:
                total = total + conv2d(h[i - 1], down[i - 1], stride=2, padding=1)
            if i < n - 1:
                total = total + interpolate(conv2d(h[i + 1], up[i]), scale_factor=2.0)
            fused.append(torch.relu(self._normalised(total)))
        return tuple(fused)

    def _normalised(self, maps: Tensor) -> Tensor:
        return group_norm(maps, self.groups)

    def _check(self, x: Tensor) -> None:
        factor = 2 ** (len(self.channels) - 1)
        if x.ndim != 4 or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"{len(self.channels)} resolutions need x of shape (B, channels, height, width) "
                f"with height and width multiples of {factor}, got {tuple(x.shape)}"
            )

    @override
    def extra_repr(self) -> str:
        return f"channels={self.channels}, groups={self.groups}, gain={self.gain}"


def _filters(shapes: Iterable[tuple[int, int, int]]) -> nn.ParameterList:
    """Gaussian filters for (outputs, inputs, size); their norms are set when they are used."""
    return nn.ParameterList(
        nn.Parameter(torch.randn(outputs, inputs, size, size) / (inputs * size**2) ** 0.5)
        for outputs, inputs, size in shapes
    )


def _same(maps: Tensor, filters: Tensor) -> Tensor:
    return conv2d(maps, filters, padding=1)


def _unit(filters: Tensor) -> Tensor:
    """Filters of norm 1, one for each output; a zero one stays zero."""
    norms = torch.linalg.vector_norm(filters, dim=(1, 2, 3), keepdim=True)
    unit: Tensor = filters / norms.clamp_min(torch.finfo(filters.dtype).tiny)
    return unit
