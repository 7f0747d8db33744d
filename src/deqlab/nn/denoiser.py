"""A denoiser D = I + M of convolutions, whose residual M has a bounded Lipschitz constant, or none.

M is a chain of convolutions with zero padding and rectified linear units between them,

    M(v) = k W_n * relu(... relu(W_1 * v + b_1) ...) + b_n.

With a cap c each filter is divided by the operator norm of its convolution at the size of the
pictures (see `operator_norm`), and k = c tanh(s): M is c |tanh s|-Lipschitz, up to what power
iteration misses, and the free number s says how much of the cap is used. Without one the filters
are free and k = s. Source: the residual network is that of Zhang, Zuo, Chen, Meng & Zhang (2017),
"Beyond a Gaussian Denoiser", without its batch norms; spectral norms on it are those of Ryu, Liu,
Wang, Chen, Wang & Yin (2019), "Plug-and-Play Methods Provably Converge with Properly Trained
Denoisers".
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d
from typing_extensions import override

from deqlab.arguments import check_count, check_positive
from deqlab.nn.cells.filters import Filters
from deqlab.nn.cells.operator_norm import check_size
from deqlab.nn.channels import check_kernel
from deqlab.stability.convolutions import convolution_bound

Layers: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
"""Filters after their caps and biases (channels, 1, 1), from the first layer to the last."""

USED = 0.5
"""How much of its cap a new denoiser uses: tanh(s)."""


class Denoiser(nn.Module):
    """D(v) = v + M(v), with M at most `cap`-Lipschitz where there is a cap.

    Args:
        channels: Of the pictures.
        size: The height and the width of the pictures, at which operator norms are taken.
        width: Channels between the layers.
        layers: Convolutions, 2 or more.
        kernel_size: The odd size of the filters.
        cap: c, the largest Lipschitz constant of M; None bounds nothing.

    Raises:
        TypeError: A number is of another kind.
        ValueError: A number is outside its domain.
    """

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        *,
        width: int = 32,
        layers: int = 4,
        kernel_size: int = 3,
        cap: float | None = 0.95,
    ) -> None:
        super().__init__()
        for name, number in (("channels", channels), ("width", width), ("layers", layers)):
            check_count(name, number)
        if layers < 2:
            raise ValueError(f"layers must be 2 or more, got {layers}")
        check_size(size)
        check_kernel(kernel_size)
        if cap is not None:
            check_positive("cap", cap)
        self.channels, self.size, self.cap = channels, (size[0], size[1]), cap
        widths = [channels, *[width] * (layers - 1), channels]
        shapes = [(outputs, inputs, kernel_size) for inputs, outputs in pairwise(widths)]
        self.filters = Filters(shapes, None if cap is None else [self.size] * layers)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in widths[1:])
        self.strength = nn.Parameter(torch.tensor(USED).atanh())

    @override
    def forward(self, v: Float[Tensor, "B c H W"]) -> Float[Tensor, "B c H W"]:
        return v + self.residual(v, self.prepared())

    def prepared(self) -> Layers:
        """Return the layers of M at the present weights, for `residual`."""
        *first, last = self._filters()
        share = self.strength if self.cap is None else self.cap * self.strength.tanh()
        filters = (*first, share * last)
        return tuple((w, b[:, None, None]) for w, b in zip(filters, self.biases, strict=True))

    def residual(self, v: Float[Tensor, "B c H W"], layers: Layers) -> Float[Tensor, "B c H W"]:
        """Return M(v)."""
        *inner, (last, bias) = layers
        for filters, shift in inner:
            v = _same(v, filters).add_(shift).relu_()
        return _same(v, last) + bias

    def lipschitz(self) -> float:
        """Return a bound on the Lipschitz constant of M; nan where a filter is not finite."""
        with torch.no_grad():
            return prod(convolution_bound(w, self.size) for w, _ in self.prepared())

    def _filters(self) -> list[Tensor]:
        return list(self.filters) if self.cap is None else self.filters.normalised()

    @override
    def extra_repr(self) -> str:
        return f"channels={self.channels}, size={self.size}, cap={self.cap}"


def _same(maps: Tensor, filters: Tensor) -> Tensor:
    return conv2d(maps, filters, padding=filters.shape[-1] // 2)
