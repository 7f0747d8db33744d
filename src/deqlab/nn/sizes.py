"""Sizes and scales of modules, refused with the reason before anything is made of them."""

import math

import torch
from torch import nn

from deqlab.arguments import check_count, check_number


def check_width(num_inputs: int, width: int) -> None:
    """Raise unless both are whole numbers of at least 1; see `check_count`."""
    check_count("num_inputs", num_inputs)
    check_count("width", width)


def check_scale(name: str, scale: float) -> None:
    """Raise unless `scale` is a finite number of at least 0.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, infinite or nan.
    """
    check_number(name, scale)
    if not 0 <= scale < math.inf:
        raise ValueError(f"{name} must be 0 or more, and finite, got {scale}")


def gaussian(width: int, gain: float) -> nn.Parameter:
    """Return a square matrix of standard deviation `gain` / sqrt(width): its radius is about gain.

    Raises:
        ValueError: torch cannot hold so large a matrix.
    """
    try:
        return nn.Parameter(torch.randn(width, width) * gain / width**0.5)
    except RuntimeError as error:  # what torch raises where memory or an index type ends
        size = width**2 * torch.get_default_dtype().itemsize
        raise ValueError(
            f"width {width} is too large: torch could not allocate the {size:.1e} bytes of its "
            f"square matrix"
        ) from error
