"""Convolution of a picture with a kernel k, and what stands beyond the border.

With p a pixel, and offsets s of the kernel from its middle,

    (A x)_p = sum_s k_s x_(p - s),        (A'y)_p = sum_s k_s y_(p + s),

where a pixel beyond the border is the one on the other side (circular), or 0. A circular A is
diagonal in the Fourier basis, with the transform of k on its diagonal, so that the eigenvalues of
A'A are known exactly, and A'A + w I is inverted at once. With zeros A is a part of a circular one
on a larger picture (see `stability.convolutions`), which bounds them from above only.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad
from typing_extensions import override

from deqlab.arguments import check_count, check_positive
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.operator_norm import check_size
from deqlab.nn.measurements.base import Measurement

Boundary: TypeAlias = Literal["circular", "zero"]
"""What stands beyond the border of a picture."""

ROUNDING = 1e-12
"""What float64 may lose in a Fourier transform, in units of (sum |k|)^2; it loses far less."""


class Blur(Measurement):
    """A x, the convolution of each channel of a picture with one kernel.

    Args:
        kernel: k, of odd height and width; it is a buffer.
        boundary: "circular" or "zero".

    Raises:
        ValueError: The kernel has an even side or a number that is not finite, or there is no such
            boundary.

    Example:
        >>> blur = Blur(gaussian_kernel(5, 5.0))
        >>> blur(torch.ones(2, 1, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    kernel: Float[Tensor, "h w"]

    def __init__(self, kernel: Float[Tensor, "h w"], *, boundary: Boundary = "circular") -> None:
        super().__init__()
        if kernel.ndim != 2 or any(side % 2 == 0 for side in kernel.shape):
            raise ValueError(
                "the kernel of a blur must have an odd height and an odd width, so that it has a "
                f"middle, got the shape {tuple(kernel.shape)}"
            )
        if not bool(kernel.isfinite().all()):
            raise ValueError("the kernel of a blur must be finite, and it is not")
        check_boundary(boundary)
        self.register_buffer("kernel", kernel.detach().clone())
        self.boundary: Boundary = boundary

    @override
    def forward(self, x: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        return self._correlated(x, self.kernel.flip(0, 1))  # conv2d computes a correlation

    @override
    def adjoint(self, y: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        return self._correlated(y, self.kernel)

    @override
    def eigenvalues(self, size: Sequence[int]) -> tuple[float, float]:
        check_size(size)
        self._check(size)
        k, circular = self.kernel.double(), self.boundary == "circular"
        rows, columns = k.shape
        # A shift of k multiplies its transform by a phase, and leaves the modulus.
        torus = (size[0], size[1]) if circular else (size[0] + rows // 2, size[1] + columns // 2)
        square = torch.fft.fft2(k, s=torus).abs().square()
        rounding = ROUNDING * float(k.abs().sum()) ** 2
        least = max(0.0, float(square.min()) - rounding) if circular else 0.0
        return least, float(square.max()) + rounding

    @override
    def spectrum(self, size: Sequence[int]) -> Tensor:
        if self.boundary != "circular":
            return super().spectrum(size)
        self._check(size)
        transform: Tensor = torch.fft.rfft2(self.kernel.double(), s=(size[0], size[1]))
        return transform.abs().square().to(self.kernel.dtype)

    @override
    def scaled(self, x: Float[Tensor, "*B H W"], factors: Tensor) -> Float[Tensor, "*B H W"]:
        if x.numel() == 0:  # MKL has no transform of no picture
            return x
        with full_precision(x, factors) as (maps, f):
            image: Tensor = torch.fft.irfft2(f * torch.fft.rfft2(maps), s=x.shape[-2:])
        return image.to(x.dtype)

    def _correlated(self, x: Tensor, kernel: Tensor) -> Tensor:
        self._check(x.shape[-2:])
        rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
        with full_precision(x, kernel) as (maps, k):  # an adjoint is exact
            maps = maps.reshape(-1, 1, *x.shape[-2:])
            if self.boundary == "zero":
                image = conv2d(maps, k[None, None], padding=(rows, columns))
            else:
                sides = (columns, columns, rows, rows)
                image = conv2d(pad(maps, sides, mode="circular"), k[None, None])
        return image.reshape(x.shape).to(x.dtype)

    def _check(self, size: Sequence[int]) -> None:
        rows, columns = self.kernel.shape
        if rows > size[0] or columns > size[1]:
            raise ValueError(
                f"the blur of {rows} x {columns} pixels is larger than the picture of {size[0]} x "
                f"{size[1]}: take a smaller kernel, or larger pictures"
            )

    @override
    def extra_repr(self) -> str:
        return f"kernel={tuple(self.kernel.shape)}, boundary={self.boundary!r}"


def check_boundary(boundary: str) -> None:
    """Raise ValueError unless `boundary` is one of its two words."""
    if boundary not in get_args(Boundary):
        raise ValueError(f'boundary must be "circular" or "zero", got {boundary!r}')


def gaussian_kernel(size: int, std: float) -> Float[Tensor, "size size"]:
    """Return a Gaussian kernel whose numbers sum to 1.

    Args:
        size: Its odd height and width.
        std: The standard deviation in pixels, more than 0.

    Raises:
        ValueError: A number is outside its domain.
    """
    check_count("size", size)
    check_positive("std", std)
    if size % 2 == 0:
        raise ValueError(f"size must be odd, so that the kernel has a middle, got {size}")
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    # In float64, and rounded once: it sums to 1 as nearly as float32 can.
    line = torch.softmax(-(offset**2) / (2 * std**2), dim=0)
    return torch.outer(line, line).to(torch.get_default_dtype())
