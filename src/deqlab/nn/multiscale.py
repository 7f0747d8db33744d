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

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, group_norm, interpolate
from typing_extensions import override

from deqlab.arguments import check_count, check_number, check_whole
from deqlab.errors import OnFailure
from deqlab.gradients import Gradient, Implicit
from deqlab.nn.cells import Cell
from deqlab.nn.deq import DEQ
from deqlab.nn.resnet import check_channels, pooled_readout
from deqlab.solvers import Anderson, Solver

Maps = tuple[Tensor, ...]
"""One feature map a resolution, the finest first."""


class MultiscaleCell(Cell[Maps]):
    """f(z, x) for a state of feature maps, each of half the resolution of the one before.

    Shapes: x (B, num_inputs, H, W); z is a tuple of (B, channels[i], H / 2^i, W / 2^i). H and W
    are multiples of 2^(n - 1), for n resolutions.

    Args:
        num_inputs: Channels of x.
        channels: Those of the state, the finest resolution first; multiples of `groups`.
        groups: Of the normalisation, at each resolution.
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
        # The filters A, B, D, E are the same for all samples; each q has a row for each.
        shared = len(self.first) + len(self.second) + len(self.down) + len(self.up)
        self.row_args = (False,) * shared + (True,) * len(channels)

    @override
    def initial(self, x: Float[Tensor, "B n H W"]) -> Maps:
        self._check(x)
        batch, _, height, width = x.shape
        return tuple(
            x.new_zeros(batch, c, height >> i, width >> i) for i, c in enumerate(self.channels)
        )

    @override
    def prepare(self, x: Float[Tensor, "B n H W"]) -> tuple[Callable[..., Maps], Maps]:
        self._check(x)
        filters = [
            *(_unit(w) for w in self.first),
            *(self.gain * _unit(w) for w in self.second),
            *(_unit(w) for w in (*self.down, *self.up)),
        ]
        injected = []
        for i, inject in enumerate(self.inject):
            injected.append(self._normalised(inject(avg_pool2d(x, 2**i) if i else x)))
        return self._map, (*filters, *injected)

    def _map(self, z: Maps, *args: Tensor) -> Maps:
        n = len(self.channels)
        first, second, rest = args[:n], args[n : 2 * n], args[2 * n : -n]
        down, up, q = rest[: n - 1], rest[n - 1 :], args[-n:]
        h = [
            torch.relu(q[i] + _same(torch.relu(self._normalised(_same(z[i], first[i]))), second[i]))
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


class Resolution(nn.Module):
    """One feature map of a multiscale state.

    Args:
        index: Which; 0 is the finest, -1 the coarsest.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        check_whole("index", index)
        self.index = index

    @override
    def forward(self, z: Maps) -> Tensor:
        return z[self.index]

    @override
    def extra_repr(self) -> str:
        return f"index={self.index}"


def multiscale(
    num_inputs: int,
    channels: Sequence[int],
    num_outputs: int,
    *,
    halvings: int = 0,
    groups: int = 4,
    gain: float = 0.4,
    solver: Solver[Any] = Anderson(rtol=1e-3, max_steps=50),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> nn.Sequential:
    """Return a classifier of images: (features, readout), with a multiscale DEQ in the features.

    The features are a few convolutions, the DEQ, and the finest map of its equilibrium, which the
    coarser ones are part of; the readout averages it over pixels.

    Args:
        num_inputs: Channels of the images.
        channels: Those of the state, the finest resolution first.
        num_outputs: Classes.
        halvings: Convolutions of stride 2 in front of the DEQ, 0 or more; one of stride 1 if 0.
        groups: Of every normalisation.
        gain: See `MultiscaleCell`.
        solver: Of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> features, readout = multiscale(3, [8, 16], 10)
        >>> maps = features(torch.randn(2, 3, 16, 16))
        >>> maps.shape, readout(maps).shape
        (torch.Size([2, 8, 16, 16]), torch.Size([2, 10]))
    """
    check_channels(channels, groups)
    check_count("halvings", halvings, least=0)
    check_count("num_inputs", num_inputs)
    check_count("num_outputs", num_outputs)
    stem: list[nn.Module] = []
    for i in range(max(1, halvings)):
        stem += [
            nn.Conv2d(channels[0] if i else num_inputs, channels[0], 3, 2 if halvings else 1, 1),
            nn.GroupNorm(groups, channels[0]),
            nn.ReLU(),
        ]
    cell = MultiscaleCell(channels[0], channels, groups=groups, gain=gain)
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    features = nn.Sequential(nn.Sequential(*stem), deq, Resolution(0))
    return nn.Sequential(features, pooled_readout(channels[0], num_outputs))


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
