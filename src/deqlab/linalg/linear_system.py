"""The linear system (I - A) x = b, in the precision and kind of array that a method works in.

That is float32 at least; numpy on a CPU, where it is faster on small matrices, and torch elsewhere.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from deqlab.linalg.arrays import Array, scaled, where
from deqlab.linalg.norms import norms
from deqlab.linalg.products import Product
from deqlab.linalg.scaled_norms import scaled_norms

HOST = "cpu"
"""The kind of device whose memory numpy shares."""


class LinearSystem:
    """(I - A) x = b, whose products are counted.

    Args:
        product: v -> A v.
        b: The right-hand sides.
        max_products: The products that may be taken.
        image: A b, if it is known and the first product will be that with b / |b|.

    Attributes:
        b: The right-hand sides, (B, D), as `array` returns them.
        left: The products that may still be taken.
        trace: The residual of every row after each product, which the method enters.
    """

    def __init__(
        self, product: Product, b: Tensor, max_products: int, image: Tensor | None = None
    ) -> None:
        self.product, self.limit, self.left = product, max_products, max_products
        self.dtype, self.work = b.dtype, torch.promote_types(b.dtype, torch.float32)
        self.eps = torch.finfo(self.work).eps
        self.on_host = b.device.type == HOST
        self.b = self.array(b)
        self.image = None if image is None else self.array(image)
        self.trace: list[np.ndarray] = []

    @cached_property
    def norms(self) -> np.ndarray:
        """|b| of each row, on the host."""
        return norms(self.b)

    @property
    def products(self) -> int:
        """The products that were taken."""
        return self.limit - self.left

    def array(self, matrix: Tensor) -> Array:
        """Return a matrix of the caller's as an array of the kind that is worked in."""
        if matrix.dtype != self.work or matrix.requires_grad:
            matrix = matrix.detach().to(self.work)
        return matrix.numpy() if self.on_host else matrix

    def tensor(self, array: Array) -> Tensor:
        """Return an array as a tensor of the caller's dtype."""
        tensor = torch.from_numpy(array) if self.on_host else array
        return tensor if self.dtype == self.work else tensor.to(self.dtype)

    def residual(self, x: Array) -> Array:
        """Return b - (I - A) x."""
        return self.b - x + self.apply(x)

    def apply(self, v: Array) -> Array:
        """Return A v."""
        if self.image is not None:
            image, self.image = self.image, None
            size = self.norms if self.on_host else scaled_norms(self.b)
            return scaled(where(size > 0, 1 / size, 0.0), image)
        self.left -= 1
        return self.array(self.product(self.tensor(v)))
