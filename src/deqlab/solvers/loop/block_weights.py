"""What brings blocks of different scales to one.

A method that weighs blocks against each other, by an inner product or a norm, does so in units of
the scale of each block, so that a large block does not drown a small one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deqlab.linalg.arrays import Array

SAFE = {torch.float64: (1e-130, 1e130)}
"""Norms at the start from which no method loses a square on its way to the end."""

SAFE_ELSE = (1e-6, 1e15)
"""The same in float32; half precision is worked on in float32."""


def weights(
    start: Float[np.ndarray, "B K"], z: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float[Tensor, "B D"] | None:
    """Return one over the scale of each block at the start, for each number of the state.

    None for one block that needs no weights. One whose squares would leave the range of its dtype
    gets a power of two, which changes no digit.
    """
    low, high = SAFE.get(z.dtype, SAFE_ELSE)
    if len(blocks) == 1 and ((start > low) & (start < high)).all():
        return None
    scale = np.where(start > 0, start, 1.0)
    if len(blocks) == 1:
        unsafe = (scale < low) | (scale > high)
        if not unsafe.any():
            return None
        scale = np.where(unsafe, 2.0 ** np.round(np.log2(scale)), 1.0)
    each = torch.from_numpy(1 / np.maximum(scale, 4 * torch.finfo(z.dtype).tiny)).to(z)
    return each.repeat_interleave(torch.tensor(blocks, device=z.device), dim=1)


def traceable_weights(
    start: Float64[Tensor, "B K"], z: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float[Tensor, "B _"] | None:
    """Return what `weights` does, without a look at any number, as a compiled loop needs it.

    For one block of float64 it is a power of two for all rows, (B, 1).
    """
    if len(blocks) == 1:
        if z.dtype != torch.float64:
            return None  # a compiled loop sums in float64, which holds the squares of the others
        return torch.exp2(-torch.where(start > 0, start, 1.0).log2().round())
    least = 4 * torch.finfo(z.dtype).tiny
    each = 1 / torch.where(start > 0, start, 1.0).clamp_min(least)
    parts = [each[:, i, None].expand(-1, size) for i, size in enumerate(blocks)]
    return torch.cat(parts, dim=1).to(z.dtype)


def without_scale(start: Array, count: int) -> Array | None:
    """Return which rows have blocks at rest, whose scale is not known; None if none is to move.

    A block that has not moved after as many iterates as there are blocks may never do so.
    """
    if count > start.shape[1]:
        return None
    return (start == 0).any(1)
