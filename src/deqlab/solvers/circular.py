"""Circular convolutions as operators of splitting methods: one small inverse a frequency.

In the Fourier basis of `linalg.circular` the resolvent of a circular convolution is that of its
blocks, (2 C, 2 C) for C channels. No matrix of the size of the state is made.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.circular import Spectrum, convolve, real_form
from deqlab.solvers.linear_operator import LinearOperator, safe_alpha


@dataclass(frozen=True)
class CircularOperator(LinearOperator):
    """W is the circular convolution with the spectrum w, and a state is (B, C, H, W)."""

    @override
    def affine(
        self, w: Spectrum, z: Float[Tensor, "B C H W"], q: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "B C H W"]:
        return convolve(w, z) + q

    @override
    def transpose(self, w: Spectrum) -> Spectrum:
        return w.transposed

    @override
    def resolvent(self, w: Spectrum, alpha: float) -> Callable[[Tensor], Tensor]:
        inverse = w._replace(blocks=block_resolvent(w.blocks, alpha))
        return lambda z: convolve(inverse, z)

    @override
    def contracting_alpha(self, w: Spectrum) -> float:
        return safe_alpha(w.blocks)


def block_resolvent(blocks: Float[Tensor, "F m m"], alpha: float) -> Float[Tensor, "F m m"]:
    """Return (I + alpha (I - M_f))^-1 of each block, by the complex matrix that it stands for."""
    half = blocks.shape[1] // 2
    # Inverses of complex matrices cost a half of those of twice the size.
    p = torch.complex(blocks[:, :half, :half], blocks[:, half:, :half])
    eye = torch.eye(half, dtype=p.dtype, device=p.device)
    inverse = torch.linalg.inv(eye + alpha * (eye - p))
    return real_form(inverse.real, inverse.imag)
