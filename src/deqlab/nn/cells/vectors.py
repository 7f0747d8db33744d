"""What cells of vectors share: their sizes, where a solve starts, and how the input enters.

Sizes and scales are refused with the reason before anything is made of them.
"""

import math

import torch
from torch import Tensor, nn

from deqlab.arguments import check_count, check_function, check_number
from deqlab.nn.leading import Leading


def check_width(num_inputs: int, width: int) -> None:
    """Raise unless both are whole numbers of at least 1, and torch can hold the weights.

    Raises:
        TypeError: One is no whole number.
        ValueError: One is too small, or a matrix of these sizes too large.
    """
    check_count("num_inputs", num_inputs)
    check_count("width", width)
    for name, columns in (("width", width), ("num_inputs", num_inputs)):
        try:
            torch.empty(width, columns)  # reserves memory, and touches none
        except RuntimeError as error:  # what torch raises where memory or an index type ends
            size = width * columns * torch.get_default_dtype().itemsize
            raise ValueError(
                f"{name} {columns} is too large: torch cannot allocate the {size:.1e} bytes of a "
                f"matrix of {width} x {columns}"
            ) from error


def check_scale(name: str, scale: float) -> None:
    """Raise unless `scale` is a finite number of at least 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, infinite or nan.
    """
    check_number(name, scale)
    if not 0 <= scale < math.inf:
        raise ValueError(f"{name} must be 0 or more, and finite, got {scale}")


def check_activation(activation: object) -> None:
    """Raise TypeError unless `activation` is a function of a tensor."""
    check_function("activation", activation, example="torch.tanh")


def gaussian(width: int, gain: float) -> nn.Parameter:
    """Return a square Gaussian matrix, whose spectral radius is about `gain`."""
    return nn.Parameter(torch.randn(width, width) * gain / width**0.5)


def zeros(x: Tensor, width: int) -> Tensor:
    """Return a vector of zeros for each vector of x."""
    shape = Leading.of(x, 1).shape
    return x.new_zeros(*shape, width)


def injected(cell: nn.Module, inject: nn.Module, x: Tensor) -> Tensor:
    """Return U x + b.

    Raises:
        ValueError: x is not as wide as the cell was told.
    """
    expected = getattr(inject, "in_features", None)
    if expected is not None and x.shape[-1] != expected:
        raise ValueError(
            f"{type(cell).__name__} takes x of shape (..., {expected}), got {tuple(x.shape)}"
        )
    q: Tensor = inject(x)
    return q
