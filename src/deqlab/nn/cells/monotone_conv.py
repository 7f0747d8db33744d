"""The monotone convolutional cell: well-posed at any size of its weights, without a dense matrix.

    z = sigma(W * z + U * x + b),    W = (1 - m) I - A'A + B - B'

with A and B circular convolutions of 3 x 3, each g V / |V| for a free filter V, its Frobenius norm
|V| and a learned number g. W is then one circular convolution of 5 x 5, and a small matrix at each
frequency (see `linalg.circular`): evaluations and resolvents are products with these. With a border
the outermost pixel of z is kept at zero, and the convolution is one with zeros around the map.
Source: Winston & Kolter (2020), "Monotone operator equilibrium networks".
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.linalg.circular import spectrum
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.scaled_filters import ScaledFilter, check_margin, monotone_kernel
from deqlab.solvers.circular import CircularOperator
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.proximal import Proximal, ZeroBorder, proximal
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.monotone import monotone_by_construction


class MonotoneConvCell(Cell[Tensor]):
    """f(z, x) = sigma(W * z + U * x + b), with I - W >= margin I.

    Shapes: x (..., num_inputs, H, W), z (..., channels, H, W). U and b start as in `nn.Conv2d`. All
    solvers take it; the splitting methods converge for every W, and `Implicit(solver=...)` takes
    them as well.

    Args:
        num_inputs: Channels of x.
        channels: Those of z.
        margin: m, more than 0. The smaller it is, the more the cell can express and the slower its
            solves are.
        activation: sigma, as in `MonotoneCell`.
        border: Whether the outermost pixel of z is kept at zero; H and W are then 3 or more. Pad x
            by one pixel to keep all of it.
    """

    def __init__(
        self,
        num_inputs: int,
        channels: int,
        *,
        margin: float = 1.0,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        border: bool = True,
    ) -> None:
        super().__init__()
        check_count("num_inputs", num_inputs)
        check_count("channels", channels)
        check_margin(margin)
        self.channels = channels
        self.margin = margin
        self.border = border
        inner = proximal(activation)
        self.activation: Proximal = ZeroBorder(inner) if border else inner
        self.feedback = CircularOperator()  # an attribute: compilers follow these
        self.inject = nn.Conv2d(num_inputs, channels, 3, padding=1, padding_mode="circular")
        self.symmetric = ScaledFilter(channels, channels)
        self.skew = ScaledFilter(channels, channels)

    sample_dims = 3

    @property
    def kernel(self) -> Float[Tensor, "c c 5 5"]:
        """The filters of W, from A = `symmetric` and B = `skew`."""
        with full_precision(self.symmetric(), self.skew()) as (a, b):
            return monotone_kernel(a, b, self.margin)

    @override
    def initial(self, x: Float[Tensor, "*B n H W"]) -> Float[Tensor, "*B c H W"]:
        check_maps(self, x, self.inject.in_channels, least=3 if self.border else 1)
        return x.new_zeros(*x.shape[:-3], self.channels, *x.shape[-2:])

    @override
    def prepare(self, x: Float[Tensor, "B n H W"]) -> Prepared:
        check_maps(self, x, self.inject.in_channels, least=3 if self.border else 1)
        kernel = self.kernel
        with full_precision(kernel):
            w = spectrum(kernel, *x.shape[-2:])
        return Prepared(shared=w, rows=self.inject(x))

    @property
    def update(self) -> MonotoneMap:  # type: ignore[override]
        """The map (z, W, U * x + b) -> f(z, x), which shows its parts to the splitting methods."""
        return MonotoneMap(self.activation, self.feedback)

    @override
    def certificate(self) -> Certificate:
        return monotone_by_construction(self, self.margin)

    @override
    def extra_repr(self) -> str:
        return f"margin={self.margin}, activation={self.activation}"


def check_maps(cell: nn.Module, x: Tensor, num_inputs: int, *, least: int, factor: int = 1) -> None:
    """Raise ValueError unless x is feature maps that the cell takes.

    Args:
        cell: The cell, for its name.
        x: The input.
        num_inputs: The channels that it was made for.
        least: The least height and width.
        factor: What both are multiples of.
    """
    height, width = x.shape[-2:] if x.ndim >= 3 else (0, 0)
    wrong = x.ndim < 3 or x.shape[-3] != num_inputs or min(height, width) < least
    if wrong or height % factor or width % factor:
        multiples = f", multiples of {factor}" if factor > 1 else ""
        raise ValueError(
            f"{type(cell).__name__} takes x of shape (..., {num_inputs}, height, width), with "
            f"height and width of {least} or more{multiples}, got {tuple(x.shape)}"
        )
