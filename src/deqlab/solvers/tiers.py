"""Feature maps at several resolutions, each fed by the next finer one: a block-triangular operator.

    (W z)_i = W_i z_i + C_i z_(i-1),

where W_i and C_i are convolutions. Those at tier i commute with shifts by two pixels, so that they
are circular convolutions of maps whose pixels are unshuffled in fours: C H x W maps are 4 C of half
the size. The resolvent of a triangular operator is a substitution, tier by tier, with one small
inverse a tier and frequency. Source: Winston & Kolter (2020), section on multi-tier networks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.circular import Spectrum, inverse, transform
from deqlab.solvers.circular import block_resolvent
from deqlab.solvers.linear_operator import LinearOperator

Maps = tuple[Tensor, ...]
"""One feature map a tier, (B, C_i, H / 2^i, W / 2^i), the finest first."""


class Tiered(NamedTuple):
    """A block-triangular operator on feature maps at several resolutions.

    Attributes:
        diagonal: W_i of each tier; of all but the last for unshuffled pixels.
        coupling: The blocks of C_i from each tier but the last, unshuffled, to the next one, in
            the basis of the first.
        upper: Whether it is the transpose: each tier is then fed by the next coarser one.
    """

    diagonal: tuple[Spectrum, ...]
    coupling: tuple[Float[Tensor, "F m n"], ...]
    upper: bool = False


@dataclass(frozen=True)
class TieredOperator(LinearOperator):
    """W is block-triangular over tiers, and a state is one feature map a tier."""

    @override
    def affine(self, w: Tiered, z: Maps, q: Maps) -> Maps:
        y = [_into(w, i, part) for i, part in enumerate(z)]
        image = []
        for i, diagonal in enumerate(w.diagonal):
            hat, fed = diagonal.blocks @ y[i], q[i]
            if w.upper and i < len(w.coupling):
                hat = hat + w.coupling[i] @ transform(diagonal.basis, z[i + 1])
            elif not w.upper and i > 0:
                fed = fed + inverse(w.diagonal[i - 1].basis, w.coupling[i - 1] @ y[i - 1])
            image.append(_out_of(w, i, hat) + fed)
        return tuple(image)

    @override
    def transpose(self, w: Tiered) -> Tiered:
        return Tiered(
            tuple(part.transposed for part in w.diagonal),
            tuple(part.mT for part in w.coupling),
            not w.upper,
        )

    @override
    def resolvent(self, w: Tiered, alpha: float) -> Callable[[Maps], Maps]:
        factors = [block_resolvent(part.blocks, alpha) for part in w.diagonal]
        return lambda z: _substituted(w, factors, alpha, z)

    @override
    def contracting_alpha(self, w: Tiered) -> float:
        raise ValueError(
            "the norm of an operator on several resolutions is not known to ForwardBackward: pass "
            "its alpha, or take PeacemanRachford(), which converges at any"
        )


def _substituted(w: Tiered, factors: list[Tensor], alpha: float, z: Maps) -> Maps:
    """Solve (I + alpha (I - W)) h = z from the tier that is fed by no other."""
    count = len(factors)
    solved: list[Tensor] = [z[0]] * count
    before = z[0]  # the last solution; in the basis of its tier where the operator is lower
    for i in reversed(range(count)) if w.upper else range(count):
        if w.upper:
            right = _into(w, i, z[i])
            if i < count - 1:
                coarse = transform(w.diagonal[i].basis, before)
                right = torch.add(right, w.coupling[i] @ coarse, alpha=alpha)
            before = solved[i] = _out_of(w, i, factors[i] @ right)
        else:
            right = z[i]
            if i > 0:
                fed = inverse(w.diagonal[i - 1].basis, w.coupling[i - 1] @ before)
                right = torch.add(right, fed, alpha=alpha)
            before = factors[i] @ _into(w, i, right)
            solved[i] = _out_of(w, i, before)
    return tuple(solved)


def _into(w: Tiered, tier: int, z: Float[Tensor, "B C H W"]) -> Float[Tensor, "F m B"]:
    """Return the coefficients of one tier in the basis of its operator."""
    last = tier == len(w.diagonal) - 1
    return transform(w.diagonal[tier].basis, z if last else _unshuffled(z))


def _out_of(w: Tiered, tier: int, hat: Float[Tensor, "F m B"]) -> Float[Tensor, "B C H W"]:
    """Return the feature map with these coefficients."""
    z = inverse(w.diagonal[tier].basis, hat)
    return z if tier == len(w.diagonal) - 1 else _shuffled(z)


def _unshuffled(z: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c h w"]:
    """Return four maps of half the size for each one; torch's function knows no empty batch."""
    batch, channels, height, width = z.shape
    parts = z.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return parts.reshape(batch, 4 * channels, height // 2, width // 2)


def _shuffled(z: Float[Tensor, "B c h w"]) -> Float[Tensor, "B C H W"]:
    """Return the maps that `_unshuffled` made these of."""
    batch, channels, height, width = z.shape
    parts = z.view(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, channels // 4, 2 * height, 2 * width)
