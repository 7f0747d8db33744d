"""Norms in float64 that are right at every scale: their squares neither overflow nor vanish.

Numbers are divided by the largest of their row first, where it may matter.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

TINY = 1e-290
"""A sum of squares in float64 loses no digit above it."""


def norm_of(parts: Any) -> Any:  # noqa: ANN401, an array of either kind
    """Return the norm of each row of norms in float64, also where squares overflow or vanish."""
    if not isinstance(parts, np.ndarray):
        return scaled_norms(parts)
    squares = np.vecdot(parts, parts)
    if squares.min(initial=1.0) > TINY and squares.max(initial=1.0) < np.inf:
        return np.asarray(np.sqrt(squares))
    return scaled_norms(parts)


def scaled_norms(matrix: Any) -> Any:  # noqa: ANN401
    """Return the norm of each row, in float64, by squares of numbers of one at most."""
    if isinstance(matrix, np.ndarray):
        top = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float64)
        scale = np.where((top > 0) & (top < np.inf), top, 1.0)
        scaled = matrix / scale[:, None]
        return np.asarray(scale * np.sqrt(np.vecdot(scaled, scaled)))
    norm: Tensor
    if matrix.dtype != torch.float64 or not matrix.shape[1]:
        # The squares of all other dtypes are within the range of float64.
        norm = torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float64)
        return norm
    largest = matrix.abs().amax(dim=1)
    unit = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    norm = torch.linalg.vector_norm(matrix / unit[:, None], dim=1) * unit
    return norm
