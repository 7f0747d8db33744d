"""Data as kernels take them: a matrix with one sample a row."""

from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Data: TypeAlias = Any
"""A matrix (n, p) of finite numbers, one sample a row: a tensor, or whatever numpy makes an array
of, such as a table of pandas or nested lists; anything else is refused in a sentence."""

RANGE = 1e-140, 1e140
"""Norms whose squares float64 holds to all digits, and what kernels make of the squares."""


def as_data(x: Data, *, name: str = "x", width: int | None = None) -> Float[Tensor, "n p"]:
    """Return data as a float64 matrix, without a gradient.

    Raises:
        ValueError: It is not a matrix of at least one row and column, or not of finite real
            numbers, or a row is so small or so large that its square leaves float64.
    """
    matrix = as_tensor(x, name)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"{name} must be a matrix with one sample a row, got shape {tuple(matrix.shape)}"
        )
    if width is not None and matrix.shape[1] != width:
        raise ValueError(
            f"{name} must have {width} columns as the other data, got shape {tuple(matrix.shape)}"
        )
    bad = ~matrix.isfinite().all(dim=1)
    if bool(bad.any()):
        raise ValueError(
            f"{name} holds nan or inf in {int(bad.sum())} of {len(matrix)} rows, the first is row "
            f"{int(bad.nonzero()[0])}; remove or impute them"
        )
    sizes = matrix.abs().amax(dim=1)
    outside = ((sizes > 0) & (sizes < RANGE[0])) | (sizes > RANGE[1])
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"the largest entry of row {row} of {name} is {float(sizes[row]):.1e} in size, whose "
            "square leaves the range of float64; scale the data"
        )
    return matrix


def as_tensor(x: Data, name: str) -> Tensor:
    """Return numbers as a float64 tensor of the CPU, without a gradient, of any shape.

    Raises:
        ValueError: They are not real numbers.
    """
    if isinstance(x, Tensor):
        if x.is_complex():
            raise ValueError(f"{name} must hold real numbers, got {x.dtype}")
        dense = x if x.layout == torch.strided else x.to_dense()
        return dense.detach().to("cpu", torch.float64)
    # No byte order, stride or memory that torch cannot read, or warns of.
    return torch.from_numpy(np.array(_numbers(x, name), dtype=np.float64, order="C"))


def _numbers(x: Data, name: str) -> np.ndarray:
    """Return what numpy makes of x, if it is numbers."""
    if isinstance(x, list | tuple):  # numpy cannot read a tensor that has a gradient
        x = [row.detach() if isinstance(row, Tensor) else row for row in x]
    if hasattr(x, "toarray"):  # a sparse matrix of scipy, which numpy takes for one object
        x = x.toarray()
    if np.ma.isMaskedArray(x) and bool(np.ma.getmaskarray(x).any()):
        raise ValueError(f"{name} has masked entries; fill them, or leave their rows out")
    try:
        array = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a matrix of numbers: {error}") from error
    if array.dtype.kind == "O" and not any(
        isinstance(entry, str | bytes | complex) for entry in array.flat
    ):  # a table of several dtypes
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must hold real numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return array


def norm_of(x: Float[Tensor, "n p"], tau0: float | None) -> float:
    """Return tau0, or the root mean square norm of the rows of x.

    Raises:
        ValueError: It is not above 0.
    """
    if tau0 is not None:
        return check_tau0(tau0)
    value = float((x * x).sum(dim=1).mean().sqrt())
    if value == 0:
        raise ValueError("every row of x is zero: such data have no kernel, unless tau0 is given")
    return value


def check_tau0(tau0: float) -> float:
    """Return tau0, or raise ValueError unless it is above 0, and its square in range."""
    if not 0 < tau0 < float("inf"):
        raise ValueError(
            f"tau0, the root mean square norm of the data, must be above 0 and finite, got {tau0:g}"
        )
    if not RANGE[0] <= tau0 <= RANGE[1]:
        raise ValueError(f"the square of tau0 = {tau0:g} leaves the range of float64")
    return float(tau0)
