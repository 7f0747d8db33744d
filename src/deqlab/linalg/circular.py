"""Circular convolutions in a real Fourier basis, in which they are small matrices, one a frequency.

A linear map of feature maps that commutes with cyclic shifts is block-diagonal over frequencies.
The basis here is that of the real discrete Fourier transform, T z = (Re F z, Im F z) at half of
the frequencies, scaled so that T'T = I. Then, for every such map W,

    W = T' diag(M_1, ..., M_F) T,    M_f = (Re P_f, -Im P_f; Im P_f, Re P_f),

with P_f the complex matrix of channels at frequency f. Transposes, products and inverses of W are
those of its blocks. T is applied as two products with small real matrices and not by a fast
transform: at 16 x 16 pixels that is as fast, at 30 x 30 a quarter slower, on one core. It leaves
frequencies in front where the products with M_f want them, and is plain real arithmetic to
autograd, autocast and compilers.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Basis(NamedTuple):
    """The factors of T at one resolution, and their transposes.

    The transposes are copies: a compiled loop takes no two tensors that share memory.

    Attributes:
        rows: The transform of each column of pixels, (2 K, H), with K = H // 2 + 1 frequencies.
        columns: The complex transform of each row of these, (2 W, 2 W).
        rows_back: The transpose of the first.
        columns_back: That of the second.
    """

    rows: Float[Tensor, "k H"]
    columns: Float[Tensor, "w w"]
    rows_back: Float[Tensor, "H k"]
    columns_back: Float[Tensor, "w w"]


class Spectrum(NamedTuple):
    """A circular convolution in the Fourier basis of its resolution.

    Attributes:
        basis: That basis.
        blocks: M_f, (K W, 2 outputs, 2 inputs).
    """

    basis: Basis
    blocks: Float[Tensor, "F m n"]

    @property
    def transposed(self) -> "Spectrum":
        """The transpose of the convolution."""
        return self._replace(blocks=self.blocks.mT)


def spectrum(kernel: Float[Tensor, "o i h w"], height: int, width: int) -> Spectrum:
    """Return the circular convolution with a kernel, in feature maps of height x width.

    It is torch's `conv2d` of maps that are padded circularly, whose kernel has its origin in the
    middle. Kernels larger than the map wrap around it.
    """
    return Spectrum(basis(height, width, like=kernel), blocks(kernel, height, width))


def basis(height: int, width: int, *, like: Tensor) -> Basis:
    """Return the factors of T, in the dtype and on the device of `like`."""
    half = height // 2 + 1
    k = torch.arange(half, dtype=torch.float64, device=like.device)
    # A frequency that stands for its negative as well counts twice.
    single = (k == 0) | (2 * k == height)
    weight = (2 - single.double()) / (height * width)
    cos, sin = _waves(half, height, like)
    rows = weight.sqrt()[:, None, None] * torch.stack([cos, -sin], dim=1)  # (K, 2, H)
    cos, sin = _waves(width, width, like)
    # (re + i im) (cos - i sin), for inputs (2, W) and outputs (W, 2).
    columns = torch.stack([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)], dim=1)
    rows, columns = (part.flatten(0, 1).to(like.dtype) for part in (rows, columns))
    back = (part.mT.clone(memory_format=torch.contiguous_format) for part in (rows, columns))
    return Basis(rows, columns, *back)


def blocks(kernel: Float[Tensor, "o i h w"], height: int, width: int) -> Float[Tensor, "F m n"]:
    """Return the blocks M_f of the circular convolution with a kernel."""
    outputs, inputs, *size = kernel.shape
    frequencies = (height // 2 + 1) * width
    down, right = (
        torch.arange(n, dtype=torch.float64, device=kernel.device) - n // 2 for n in size
    )
    k = torch.arange(height // 2 + 1, dtype=torch.float64, device=kernel.device) / height
    l = torch.arange(width, dtype=torch.float64, device=kernel.device) / width  # noqa: E741
    angle = (k[:, None] * down)[:, None, :, None] + (l[:, None] * right)[None, :, None, :]
    angle = 2 * math.pi * angle.reshape(frequencies, size[0] * size[1])
    taps = kernel.reshape(outputs * inputs, size[0] * size[1]).mT
    # What correlation multiplies by, e^(+i angle), for it looks ahead by each tap's offset.
    re, im = (
        (wave.to(kernel.dtype) @ taps).view(frequencies, outputs, inputs)
        for wave in (angle.cos(), angle.sin())
    )
    return real_form(re, im)


def polyphase(
    kernel: Float[Tensor, "o i h w"], *, strided: bool = False
) -> Float[Tensor, "p q 3 3"]:
    """Return the kernel of a circular convolution in maps whose pixels are unshuffled in fours.

    Args:
        kernel: The kernel, of 5 x 5 pixels at most, with its origin in the middle.
        strided: Keep every second pixel of the output, so that it is a map of half the resolution.
    """
    outputs, inputs, height, width = kernel.shape
    down, right = (_phases(n, strided, kernel) for n in (height, width))
    split = torch.einsum("oihw,abDh,efEw->oaeibfDE", kernel, down, right)
    return split.reshape(outputs * down.shape[0] * right.shape[0], 4 * inputs, 3, 3)


def real_form(re: Float[Tensor, "F o i"], im: Float[Tensor, "F o i"]) -> Float[Tensor, "F m n"]:
    """Return complex matrices as real ones that act on (Re, Im)."""
    return torch.cat([torch.cat([re, -im], dim=2), torch.cat([im, re], dim=2)], dim=1)


def convolve(w: Spectrum, z: Float[Tensor, "B i H W"]) -> Float[Tensor, "B o H W"]:
    """Return the convolution of feature maps."""
    return inverse(w.basis, w.blocks @ transform(w.basis, z))


def transform(basis: Basis, z: Float[Tensor, "B C H W"]) -> Float[Tensor, "F m B"]:
    """Return T z, frequency by frequency."""
    batch, channels, height, width = z.shape
    rest = channels * batch
    # Pixels first. Two copies with long runs take half the time of one permutation.
    x = z.reshape(batch, channels * height * width).mT.contiguous()
    x = x.view(channels, height * width, batch).transpose(0, 1).reshape(height, width * rest)
    half = len(basis.rows) // 2
    y = basis.columns @ (basis.rows @ x).view(half, 2 * width, rest)
    return y.view(half * width, 2 * channels, batch)


def inverse(basis: Basis, y: Float[Tensor, "F m B"]) -> Float[Tensor, "B C H W"]:
    """Return T'y."""
    (double, height), width = basis.rows.shape, len(basis.columns) // 2
    channels, batch = y.shape[1] // 2, y.shape[2]
    pixels = height * width
    x = basis.columns_back @ y.reshape(double // 2, 2 * width, channels * batch)
    x = basis.rows_back @ x.view(double, width * channels * batch)
    x = x.view(pixels, channels, batch).transpose(0, 1).reshape(channels * pixels, batch)
    return x.mT.contiguous().view(batch, channels, height, width)


def _waves(frequencies: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2 pi k j / size, (frequencies, size), in float64."""
    k = torch.arange(frequencies, dtype=torch.float64, device=like.device)
    j = torch.arange(size, dtype=torch.float64, device=like.device)
    # The remainder first: the angle is then exact to rounding at every size.
    angle = (2 * math.pi / size) * (k[:, None] * j).remainder(size)
    return angle.cos(), angle.sin()


def _phases(taps: int, strided: bool, like: Tensor) -> Float[Tensor, "a 2 3 taps"]:
    """Return 1 where a tap leads from an output's phase a to phase b of an input D pixels on.

    Pixel 2 P + a takes 2 P + a + d = 2 (P + D) + b, where d is the offset of the tap.
    """
    a, b, ahead, tap = torch.meshgrid(
        torch.arange(1 if strided else 2),
        torch.arange(2),
        torch.arange(-1, 2),
        torch.arange(taps) - taps // 2,
        indexing="ij",
    )
    return (a + tap == 2 * ahead + b).to(like)
