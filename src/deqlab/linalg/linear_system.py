"""The linear system (I - A) x = b, in the precision and kind of array that a method works in.

That is float32 at least; numpy on a CPU, where it is faster on small matrices, and torch elsewhere.
"""

import numpy as np
import torch
from torch import Tensor

from deqlab.linalg.arrays import Array
from deqlab.linalg.norms import norms
from deqlab.linalg.products import Product

HOST = "cpu"
"""The kind of device whose memory numpy shares."""


class LinearSystem:
    """(I - A) x = b, whose products are counted.

    Attributes:
        b: The right-hand sides, (B, D), as `array` returns them.
        norms: |b| of each row, on the host.
        left: The products that may still be taken.
        trace: The residual of every row after each product, which the method enters.
    """

    def __init__(self, product: Product, b: Tensor, max_products: int) -> None:
        self.product, self.left = product, max_products
        self.dtype, self.work = b.dtype, torch.promote_types(b.dtype, torch.float32)
        self.eps = torch.finfo(self.work).eps
        self.on_host = b.device.type == HOST
        self.b = self.array(b)
        self.norms = norms(self.b)
        self.trace: list[np.ndarray] = []

    def array(self, matrix: Tensor) -> Array:
        """Return a matrix of the caller's as an array of the kind that is worked in."""
        if matrix.dtype != self.work or matrix.requires_grad:
            matrix = matrix.detach().to(self.work)
        return matrix.numpy() if self.on_host else matrix

    def tensor(self, array: Array) -> Tensor:
        """Return an array as a tensor of the caller's dtype."""
        tensor = torch.from_numpy(array) if self.on_host else array
        return tensor if self.dtype == self.work else tensor.to(self.dtype)

    def apply(self, v: Array) -> Array:
        """Return A v."""
        self.left -= 1
        return self.array(self.product(self.tensor(v)))
