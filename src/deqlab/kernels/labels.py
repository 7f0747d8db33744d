"""The class of each sample."""

from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

Labels: TypeAlias = Any
"""One for each sample, (n,): integers of at least 0, or strings. A tensor, an array, a list or a
column of a table; anything else is refused in a sentence."""


def as_classes(labels: Labels, n: int) -> tuple[list[Any], Int64[Tensor, " n"]]:
    """Return the names of the classes in ascending order, and the place of each sample's there.

    Raises:
        ValueError: There are not n labels, or they are neither integers of at least 0 nor strings.
    """
    values = _array(labels)
    _check_shape(values, n)
    if values.dtype.kind not in "US":
        values = as_numbers(values).numpy()
    names, classes = np.unique(values, return_inverse=True)
    return names.tolist(), torch.from_numpy(classes.astype(np.int64))


def as_numbers(labels: Labels) -> Int64[Tensor, " n"]:
    """Return labels that are integers.

    Raises:
        ValueError: They are not, or one is below 0.
    """
    values = _array(labels)
    _check_shape(values, values.size)
    if values.dtype.kind in "US":
        raise ValueError(
            "labels of a mixture number the rows of its means, integers from 0, got strings: "
            "numpy.unique(labels, return_inverse=True) numbers them"
        )
    if values.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers or strings, got {values.dtype}")
    if int(values.min()) < 0:
        raise ValueError(f"labels must be 0 or more, got {int(values.min())}")
    return torch.from_numpy(np.array(values, dtype=np.int64, order="C"))


def _array(labels: Labels) -> np.ndarray:
    """Return labels as an array, of strings or of integers where they stand as objects."""
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    if np.ma.isMaskedArray(labels) and bool(np.ma.getmaskarray(labels).any()):
        raise ValueError("labels has masked entries; leave their rows out")
    values = np.asarray(labels, dtype=None if hasattr(labels, "dtype") else object)
    if values.dtype.kind not in "OT" or values.ndim != 1:
        return values
    items = values.tolist()
    for kind in (str, Integral):
        if all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            return np.array(items)
    kinds = ", ".join(sorted({type(item).__name__ for item in items}))
    raise ValueError(f"labels must be integers or strings, all of one kind, got {kinds}")


def _check_shape(values: np.ndarray, n: int) -> None:
    if values.ndim != 1 or len(values) != n or n == 0:
        raise ValueError(
            f"labels must be one integer or string a sample, ({n},), got shape {values.shape}"
        )
