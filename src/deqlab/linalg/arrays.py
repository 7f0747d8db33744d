"""What both kinds of array do: those of numpy on a CPU, of torch on another device.

A basis is of shape (k, B, D), its vectors (B, D): one vector for each row of a batch.
"""

from typing import Any, TypeAlias

import numpy as np
import torch

Array: TypeAlias = Any
"""np.ndarray on a CPU, Tensor on another device."""


def dots(basis: Array, w: Array) -> Array:
    """Return the inner products of w with each vector, (k, B)."""
    if not isinstance(w, np.ndarray):
        return torch.einsum("kbd,bd->kb", basis, w)
    if len(basis) < 8:
        return np.vecdot(basis, w)
    # Rows times columns: a few long inner products are quicker by vecdot, many by BLAS.
    return np.matmul(w[:, None], basis.transpose(1, 2, 0))[:, 0].T


def mix(basis: Array, weights: Array) -> Array:
    """Return the sum of the vectors with these weights, (k, B)."""
    if not isinstance(basis, np.ndarray):
        return torch.einsum("kbd,kb->bd", basis, weights)
    if len(basis) == 1:  # matmul does not hand it to BLAS
        return basis[0] * weights[0][:, None]
    return np.matmul(weights.T[:, None], basis.swapaxes(0, 1))[:, 0]


def less(w: Array, part: Array) -> Array:
    """Return w - part, in the memory of the second."""
    if isinstance(w, np.ndarray):
        return np.subtract(w, part, out=part)
    return w - part


def row_norms(w: Array) -> Array:
    """Return the norm of each row, where it is."""
    if isinstance(w, np.ndarray):
        return np.sqrt(np.vecdot(w, w))
    return torch.linalg.vector_norm(w, dim=1)


def norms(matrix: Array) -> np.ndarray:
    """Return the norm of each row, on the host, also where squares overflow or vanish."""
    if not isinstance(matrix, np.ndarray):
        return np.asarray(torch.linalg.vector_norm(matrix.double(), dim=1).cpu().numpy())
    squares = np.vecdot(matrix, matrix)
    if not (squares.min(initial=1.0) > 1e-30 and squares.max(initial=1.0) < 1e36):
        scale = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float64)
        scale[scale == 0] = 1.0
        scaled = matrix / scale[:, None]
        return np.asarray(scale * np.sqrt(np.vecdot(scaled, scaled)))
    return np.asarray(np.sqrt(squares, dtype=np.float64))


def where(rows: np.ndarray, yes: Array, no: Array) -> Array:
    """Return the rows of one matrix where `rows` says so, and of another elsewhere."""
    if rows.all():
        return yes
    if isinstance(yes, np.ndarray):
        return np.where(rows[:, None], yes, no)
    return torch.where(torch.from_numpy(rows).to(yes.device)[:, None], yes, no)


def zeros_like(matrix: Array) -> Array:
    """Return zeros, of the same kind."""
    return np.zeros_like(matrix) if isinstance(matrix, np.ndarray) else torch.zeros_like(matrix)


def like(numbers: np.ndarray, matrix: Array) -> Array:
    """Return numbers of the host as the kind of array that `matrix` is."""
    if isinstance(matrix, np.ndarray):
        return numbers.astype(matrix.dtype)
    return torch.from_numpy(numbers).to(matrix)


def empty(count: int, matrix: Array) -> Array:
    """Return room for so many matrices like this one."""
    shape = (count, *matrix.shape)
    if isinstance(matrix, np.ndarray):
        return np.empty(shape, dtype=matrix.dtype)
    return matrix.new_empty(shape)
