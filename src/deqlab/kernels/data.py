"""Data as kernels take them: a matrix with one sample a row."""

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Data: TypeAlias = Tensor | np.ndarray
"""A matrix (n, p) of finite numbers, one sample a row; anything else is refused in a sentence."""


def as_data(x: Data, *, name: str = "x", width: int | None = None) -> Float[Tensor, "n p"]:
    """Return data as a float64 matrix.

    Raises:
        ValueError: It is not a matrix of at least one row and column, or not finite.
    """
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold real numbers, got {x.dtype}")
        x = np.require(x, requirements="W")  # torch warns of arrays that it cannot write to
    matrix = torch.as_tensor(x)
    if matrix.is_complex():
        raise ValueError(f"{name} must hold real numbers, got {matrix.dtype}")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"{name} must be a matrix with one sample a row, got shape {tuple(matrix.shape)}"
        )
    if width is not None and matrix.shape[1] != width:
        raise ValueError(
            f"{name} must have {width} columns as the other data, got shape {tuple(matrix.shape)}"
        )
    matrix = matrix.detach().to(torch.float64)
    bad = ~matrix.isfinite().all(dim=1)
    if bool(bad.any()):
        raise ValueError(
            f"{name} holds nan or inf in {int(bad.sum())} of {len(matrix)} rows, the first is row "
            f"{int(bad.nonzero()[0])}; remove or impute them"
        )
    return matrix


def norm_of(x: Float[Tensor, "n p"], tau0: float | None) -> float:
    """Return tau0, or the root mean square norm of the rows of x.

    Raises:
        ValueError: It is not above 0.
    """
    if tau0 is not None:
        return check_tau0(tau0)
    value = float((x * x).sum(dim=1).mean().sqrt())
    if value == 0:
        raise ValueError("every row of x is zero: such data have no kernel")
    return value


def check_tau0(tau0: float) -> float:
    """Return tau0, or raise ValueError unless it is above 0 and finite."""
    if not 0 < tau0 < float("inf"):
        raise ValueError(
            f"tau0, the root mean square norm of the data, must be above 0 and finite, got {tau0:g}"
        )
    return float(tau0)
