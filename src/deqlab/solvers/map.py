"""f as a method sees it: every evaluation is counted."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from torch import Tensor

MatrixMap: TypeAlias = Callable[[Tensor], Tensor]
"""One (B, D) matrix to another, row to row; it must not write to its argument."""

Narrow: TypeAlias = Callable[[Tensor], MatrixMap]
"""Indices of rows -> the map on these rows alone."""


class Map:
    """f during one solve.

    Attributes:
        f: The map itself, for methods that need its structure.
        evaluations: How often it was called.
        products: Products with its Jacobian that a method took beside; the method counts them.
        running: (B,) bool, the rows that still look for an answer.
    """

    def __init__(self, f: MatrixMap, running: np.ndarray) -> None:
        self.f = f
        self.running = running
        self.evaluations = 0
        self.products = 0

    def __call__(self, z: Tensor) -> Tensor:
        """Return f(z)."""
        self.evaluations += 1
        return self.f(z)
