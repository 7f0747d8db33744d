"""The monotone cell of several resolutions: multi-tier convolutions, well-posed at any weights.

    z_i = sigma(W_i * z_i + C_i * z_(i-1) + b_i),    plus U * x at the finest resolution, i = 1,

each resolution has half the pixels each way of the one before. With A_i and B_i circular
convolutions of 3 x 3 at resolution i, and D_i one of stride 2 from resolution i - 1 to i,

    W_i = (1 - m) I - A_i'A_i - D_(i+1)'D_(i+1) + B_i - B_i',    C_i = -2 A_i'D_i.

The symmetric part of I - W is then m I + A'A with A the bidiagonal operator of all A_i and D_i,
whose part above the diagonal the skew part of W cancels: W is block-triangular, and a resolvent is
a substitution from the finest resolution to the coarsest (see `solvers.tiers`). Each convolution is
g V / |V|, as in `MonotoneConvCell`. Source: Winston & Kolter (2020), "Monotone operator equilibrium
networks", section on multi-tier networks.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.linalg.circular import Spectrum, basis, blocks, polyphase
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.monotone_conv import check_maps
from deqlab.nn.cells.scaled_filters import ScaledFilter, check_margin, monotone_kernel
from deqlab.nn.channels import check_channels
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.proximal import Proximal, ZeroBorder, proximal
from deqlab.solvers.tiers import Maps, Tiered, TieredOperator
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.monotone import monotone_by_construction


class MonotoneTiersCell(Cell[Maps]):
    """f(z, x) for a state of feature maps, each of half the resolution, with I - W >= margin I.

    Shapes: x (..., num_inputs, H, W); z is a tuple of (..., channels[i], H / 2^i, W / 2^i). H and
    W are multiples of 2^(n - 1), for n resolutions.

    Args:
        num_inputs: Channels of x.
        channels: Those of the state, the finest resolution first; two or more.
        margin: m, more than 0.
        activation: sigma, as in `MonotoneCell`.
        border: Whether the outermost pixel at each resolution is kept at zero; the coarsest is
            then of 3 pixels or more each way.
    """

    def __init__(
        self,
        num_inputs: int,
        channels: Sequence[int],
        *,
        margin: float = 1.0,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        border: bool = True,
    ) -> None:
        super().__init__()
        check_count("num_inputs", num_inputs)
        check_channels(channels, 1)
        check_margin(margin)
        if len(channels) < 2:
            raise ValueError(
                f"channels needs two or more resolutions, got {list(channels)}; "
                "MonotoneConvCell has one"
            )
        self.channels = tuple(channels)
        self.margin = margin
        self.border = border
        inner = proximal(activation)
        self.activation: Proximal = ZeroBorder(inner) if border else inner
        self.feedback = TieredOperator()  # an attribute: compilers follow these
        self.inject = nn.Conv2d(num_inputs, channels[0], 3, padding=1, padding_mode="circular")
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(c)) for c in channels[1:])
        self.symmetric = nn.ModuleList(ScaledFilter(c, c) for c in channels)
        self.skew = nn.ModuleList(ScaledFilter(c, c) for c in channels)
        self.down = nn.ModuleList(ScaledFilter(c, d) for c, d in pairwise(channels))

    sample_dims = 3

    @override
    def initial(self, x: Float[Tensor, "*B n H W"]) -> Maps:
        self._check(x)
        *leading, _, height, width = x.shape
        return tuple(
            x.new_zeros(*leading, c, height >> i, width >> i) for i, c in enumerate(self.channels)
        )

    @override
    def prepare(self, x: Float[Tensor, "B n H W"]) -> Prepared:
        self._check(x)
        batch, _, height, width = x.shape
        rows = [self.inject(x)]
        for i, bias in enumerate(self.bias, start=1):
            shape = (batch, len(bias), height >> i, width >> i)
            rows.append(bias[:, None, None].to(rows[0].dtype).expand(shape))
        return Prepared(shared=self.operator(height, width), rows=tuple(rows))

    def operator(self, height: int, width: int) -> Tiered:
        """Return W for a finest map of this size."""
        filters = [[f() for f in group] for group in (self.symmetric, self.skew, self.down)]
        diagonal, coupling = [], []
        with full_precision(filters[0][0]):
            a, b, d = filters
            for i, (a_i, b_i) in enumerate(zip(a, b, strict=True)):
                kernel, last = monotone_kernel(a_i, b_i, self.margin), i == len(a) - 1
                size = (height >> i, width >> i) if last else (height >> i + 1, width >> i + 1)
                fourier = basis(*size, like=kernel)
                if last:
                    diagonal.append(Spectrum(fourier, blocks(kernel, *size)))
                    continue
                down = blocks(polyphase(d[i], strided=True), *size)
                own = blocks(polyphase(kernel), *size) - down.mT @ down
                fed = -2 * blocks(a[i + 1], *size).mT @ down
                diagonal.append(Spectrum(fourier, own))
                coupling.append(fed)
        return Tiered(tuple(diagonal), tuple(coupling))

    @property
    def update(self) -> MonotoneMap:  # type: ignore[override]
        """The map (z, W, rows) -> f(z, x), which shows its parts to the splitting methods."""
        return MonotoneMap(self.activation, self.feedback)

    @override
    def certificate(self) -> Certificate:
        return monotone_by_construction(self, self.margin)

    def _check(self, x: Tensor) -> None:
        factor = 2 ** (len(self.channels) - 1)
        least = factor * (3 if self.border else 1)
        check_maps(self, x, self.inject.in_channels, least=least, factor=factor)

    @override
    def extra_repr(self) -> str:
        return f"channels={self.channels}, margin={self.margin}, activation={self.activation}"
