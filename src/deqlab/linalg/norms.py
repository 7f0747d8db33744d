"""Norms of the rows of a state, where they are or on the host, at any scale.

Squares overflow or vanish long before numbers do. The functions that sum in the precision of the
state say so; the others are right to rounding at every scale.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deqlab.linalg.arrays import CACHED, Array, as_array
from deqlab.linalg.scaled_norms import scaled_norms


def row_norms(matrix: Array) -> Array:
    """Return the norm of each row, where it is, summed in its precision; a constant to a tape."""
    if isinstance(matrix, np.ndarray):
        return np.sqrt(np.vecdot(matrix, matrix))
    return torch.linalg.vector_norm(matrix.detach(), dim=1)


def weighted_norms(
    g: Float[Tensor, "B D"], weights: Float[Tensor, "B _"] | None
) -> Float64[Array, " B"]:
    """Return the norm of each row in units of the weights, None is 1; see `norms_in_place`."""
    return norms_in_place(g if weights is None else g * weights, (g.shape[1],))[:, 0]


def norms(matrix: Array) -> np.ndarray:
    """Return the norm of each row, on the host, also where squares overflow or vanish.

    nan for a row that is not finite, which is then within no tolerance: inf is within inf.
    """
    if isinstance(matrix, np.ndarray):
        squares = np.vecdot(matrix, matrix)
        if squares.min(initial=1.0) > 1e-30 and squares.max(initial=1.0) < 1e36:
            return np.asarray(np.sqrt(squares, dtype=np.float64))
        found = scaled_norms(matrix)
    else:
        found = scaled_norms(matrix.detach()).cpu().numpy()
    return np.where(found < np.inf, found, np.nan)


def residual_norms(
    fz: Float[Tensor, "B D"], z: Float[Tensor, "B D"], blocks: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return |f(z) - z| and |f(z)| for each row within each block of columns, on the host.

    Two arrays (B, K). They are summed in the precision of the state, or in float32: several times
    faster than `block_norms`, but wrong where squares overflow or vanish.
    """
    image, point = as_array(fz), as_array(z)
    if image is None or point is None:
        return block_norms(fz.detach() - z.detach(), blocks), block_norms(fz, blocks)
    chunk = max(1, CACHED // max(1, image.shape[1]))
    if len(image) <= chunk:
        residuals = _block_norms(image - point, blocks)
    else:  # a few rows at a time, so that the difference is still in the cache when it is summed
        parts = [
            _block_norms(image[i : i + chunk] - point[i : i + chunk], blocks)
            for i in range(0, len(image), chunk)
        ]
        residuals = np.concatenate(parts)
    return residuals, _block_norms(image, blocks)


def step_norms(
    there: Float[Tensor, "B D"], here: Float[Tensor, "B D"], blocks: Sequence[int]
) -> tuple[Float64[Array, "B K"], Float64[Array, "B K"]]:
    """Return |there - here| and |there| for each row and block, as tensors if they are on a device.

    They are those of `residual_norms`, or summed exactly where these may be wrong.
    """
    if there.is_cpu:
        found, least = residual_norms(there, here, blocks), sure_above(there.dtype)
        if all(((norms > least) & (norms < np.inf)).all() for norms in found):
            return found
    return norms_in_place(there - here, blocks), norms_in_place(there, blocks)


def block_norms(matrix: Float[Tensor, "B D"], blocks: Sequence[int]) -> Float64[np.ndarray, "B K"]:
    """Return the Euclidean norm of each row within each block of columns, on the host.

    They are right to rounding at every scale, also where squares overflow or vanish.
    """
    matrix, wide = matrix.detach(), torch.float64
    if len(blocks) == 1:
        norms = torch.linalg.vector_norm(matrix, dim=1, keepdim=True, dtype=wide)
    else:
        parts = matrix.split(tuple(blocks), dim=1)
        each = [torch.linalg.vector_norm(part, dim=1, dtype=wide) for part in parts]
        norms = torch.stack(each, dim=1)
    found = np.asarray(norms.cpu().numpy())
    if matrix.dtype != wide or not matrix.numel():
        return found  # float64 holds the squares of all other dtypes
    doubtful = ~((found > sure_above(wide)) & (found < np.inf))
    if doubtful.any() and (found.any() or matrix.any()):
        exact = np.asarray(traceable_block_norms(matrix, blocks).cpu().numpy())
        return np.where(doubtful, exact, found)
    return found


def norms_in_place(matrix: Float[Tensor, "B D"], blocks: Sequence[int]) -> Float64[Array, "B K"]:
    """Return what `block_norms` does, as a tensor if the matrix is on a device."""
    if matrix.is_cpu:
        return block_norms(matrix, blocks)
    return traceable_block_norms(matrix.detach(), blocks)


def traceable_block_norms(
    matrix: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float64[Tensor, "B K"]:
    """Return what `block_norms` does, where the matrix is, without a look at any number.

    This is what a compiled loop needs; a compiler fuses the conversion to float64 into the sum.
    """
    parts = [matrix] if len(blocks) == 1 else matrix.split(list(blocks), dim=1)
    return torch.stack([scaled_norms(part) for part in parts], dim=1)


def sure_above(dtype: torch.dtype) -> float:
    """Return the norm above which, up to where they overflow, sums in this dtype are right."""
    return 1e-140 if dtype == torch.float64 else 1e-15


def _block_norms(matrix: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
    if len(blocks) == 1:
        squares = np.vecdot(matrix, matrix)[:, None]
    else:
        parts = np.split(matrix, np.cumsum(blocks)[:-1], axis=1)
        squares = np.stack([np.vecdot(part, part) for part in parts], axis=1)
    norms: np.ndarray = np.sqrt(squares, dtype=np.float64)
    return norms
