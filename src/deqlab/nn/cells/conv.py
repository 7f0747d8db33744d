"""A residual block of two convolutions as a cell, whose feedback has a bounded operator norm.

With * a convolution with zero padding, A and B filters divided by the operator norm of their
convolution at the cell's resolution (see `operator_norm`), and N group normalisation with a large
epsilon and no learned scale,

    inner:  f(z, x) = relu(x + g B * relu(N(A * z + U * x) + b))
    outer:  f(z, x) = relu(N(x + g B * relu(N(A * z) + b)) + c)

The one number g scales the feedback, whatever the weights are. At g = 0 the inner cell is relu(x),
and started at z = x its first step is an explicit residual block. N is 1/sqrt(epsilon)-Lipschitz:
its Jacobian is (I - 11'/n - y y'/n)/s with y its output, |y|^2 <= n and s >= sqrt(epsilon). Hence

    inner:  |f(z, x) - f(z', x)| <= g |A| |B| / sqrt(epsilon) |z - z'|
    outer:  |f(z, x) - f(z', x)| <= g |A| |B| / epsilon |z - z'|

so that f contracts for small g (Banach, 1922). At every g a fixed point exists (Brouwer, 1911):
N, and with it the feedback, is bounded. What g a trained network bears is more than that, and is
measured. Derived here; normalised weights in the feedback of a DEQ are as in Bai, Koltun & Kolter
(2020), "Multiscale Deep Equilibrium Models", which normalises each filter instead.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, group_norm
from typing_extensions import override

from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.operator_norm import OperatorNorm, check_size
from deqlab.nn.channels import check_channels, check_eps, check_kernel
from deqlab.nn.knob import Knob, check_gain
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.fixed_point_theorems import contraction
from deqlab.stability.convolutions import convolution_bound

Arrangement: TypeAlias = Literal["inner", "outer"]
"""Whether x enters the normalisation of the feedback, or the whole block is normalised."""


class ConvCell(Cell[Tensor]):
    """f(z, x), a residual block with feedback of gain g; x and z have the same shape.

    Shapes: x and z (..., channels, H, W), with H and W at most those of `size`. A solve starts at
    z = x. x is of the size of 1, as what a normalisation gives.

    Args:
        channels: Of x and z; a multiple of `groups`.
        size: The height and the width of x, at which the operator norms are taken; they are bounds
            where x is smaller.
        arrangement: "inner" or "outer", see the module. Training leaves the inner one little
            iteration to do and the outer one more.
        kernel_size: The odd size of the filters.
        conv_groups: Groups of channels that no filter of A and B connects.
        groups: Groups of channels of the normalisation.
        eps: Epsilon of the normalisation, more than 0.
        gain: g at the start, at least 0.
        highest: The largest g that `knob` allows.
    """

    gain: Float[Tensor, ""]

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        *,
        arrangement: Arrangement = "inner",
        kernel_size: int = 3,
        conv_groups: int = 1,
        groups: int = 4,
        eps: float = 0.1,
        gain: float = 1.0,
        highest: float = 8.0,
    ) -> None:
        super().__init__()
        check_channels([channels], groups)
        check_channels([channels], conv_groups, name="conv_groups")
        check_size(size)
        check_kernel(kernel_size)
        check_eps(eps)
        check_gain(gain, highest)
        check_arrangement(arrangement)
        self.channels, self.size = channels, (size[0], size[1])
        self.arrangement: Arrangement = arrangement
        self.conv_groups, self.groups = conv_groups, groups
        self.eps, self.highest = eps, highest
        self.register_buffer("gain", torch.tensor(float(gain)))
        fan_in = channels // conv_groups * kernel_size**2
        shape = (channels, channels // conv_groups, kernel_size, kernel_size)
        self.first = nn.Parameter(torch.randn(shape) / fan_in**0.5)
        self.second = nn.Parameter(torch.randn(shape) / fan_in**0.5)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.first_norm = OperatorNorm(self.first, self.size, groups=conv_groups)
        self.second_norm = OperatorNorm(self.second, self.size, groups=conv_groups)
        if arrangement == "inner":
            self.inject = nn.Conv2d(
                channels, channels, kernel_size, padding=kernel_size // 2, bias=False
            )
        else:
            self.outer_bias = nn.Parameter(torch.zeros(channels))

    sample_dims = 3

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=self.highest)

    @override
    def initial(self, x: Float[Tensor, "*B c H W"]) -> Float[Tensor, "*B c H W"]:
        self._check(x)
        return x

    @override
    def prepare(self, x: Float[Tensor, "B c H W"]) -> Prepared:
        self._check(x)
        filters, bias = self._filters(), self.bias[:, None, None]
        if self.arrangement == "inner":
            return Prepared(shared=(*filters, bias), rows=(x, self.inject(x)))
        return Prepared(shared=(*filters, bias, self.outer_bias[:, None, None]), rows=x)

    @override
    def update(
        self,
        z: Float[Tensor, "B c H W"],
        shared: tuple[Tensor, ...],
        rows: Tensor | tuple[Tensor, Tensor],
    ) -> Float[Tensor, "B c H W"]:
        if isinstance(rows, tuple):
            first, second, bias = shared
            x, injected = rows
            h = self._normalised(self._same(z, first).add_(injected), bias).relu_()
            # Not in place: under autocast the convolution has half precision, and x has not.
            return torch.add(x, self._same(h, second)).relu_()
        first, second, bias, outer_bias = shared
        h = self._normalised(self._same(z, first), bias).relu_()
        return self._normalised(rows + self._same(h, second), outer_bias).relu_()

    @override
    @torch.no_grad()
    def certificate(self) -> Certificate:
        """Return what is proved of f: that it contracts in the Euclidean norm, at small g.

        At larger g a fixed point exists, for f is bounded, and more is not known.
        `lipschitz` bounds |z*(x) - z*(x')| / |x - x'|; `perturbation` is what A and g B may both be
        changed by, in the operator norm.
        """
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        first, second = self._filters()
        a, b = (convolution_bound(w, self.size, groups=self.conv_groups) for w in (first, second))
        inner = self.arrangement == "inner"
        root = self.eps**-0.5
        slope = root if inner else root**2
        u = convolution_bound(self.inject.weight, self.size) if inner else 0.0
        return contraction(
            slope * a * b,
            f"g |A| |B| / {'sqrt(eps)' if inner else 'eps'}",
            injection=1 + root * b * u if inner else root,
            bounded=True,
            perturbation=(((a - b) ** 2 + 4 / slope) ** 0.5 - a - b) / 2,
        )

    def _filters(self) -> tuple[Tensor, Tensor]:
        """Return A and g B."""
        first = self.first_norm.normalised(self.first)
        second = self.second_norm.normalised(self.second)
        # A copy of g: a controller may set it before the backward pass.
        return first, self.gain.clone() * second

    def _normalised(self, maps: Tensor, bias: Tensor) -> Tensor:
        # Not as an argument of group_norm: its backward fails where there is a bias and no scale.
        return group_norm(maps, self.groups, eps=self.eps).add_(bias)

    def _same(self, maps: Tensor, filters: Tensor) -> Tensor:
        return conv2d(maps, filters, padding=filters.shape[-1] // 2, groups=self.conv_groups)

    def _check(self, x: Tensor) -> None:
        height, width = self.size
        if (
            x.ndim < 3
            or x.shape[-3] != self.channels
            or x.shape[-2] > height
            or x.shape[-1] > width
        ):
            raise ValueError(
                f"ConvCell takes x of shape (..., {self.channels}, H, W) with H at most {height} "
                f"and W at most {width}, at which its operator norms are taken, got "
                f"{tuple(x.shape)}"
            )

    @override
    def extra_repr(self) -> str:
        return (
            f"channels={self.channels}, size={self.size}, arrangement={self.arrangement!r}, "
            f"groups={self.groups}, eps={self.eps}, highest={self.highest}"
        )


def check_arrangement(arrangement: str) -> None:
    """Raise ValueError unless `arrangement` is one of its two words."""
    if arrangement not in get_args(Arrangement):
        raise ValueError(f'arrangement must be "inner" or "outer", got {arrangement!r}')
