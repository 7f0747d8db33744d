"""Pixels that are measured, and pixels that are not: inpainting."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.nn.cells.operator_norm import check_size
from deqlab.nn.measurements.base import Measurement


class Mask(Measurement):
    """A x = m x, pixel by pixel: 1 where a pixel is measured, and 0 where it is missing.

    A is diagonal, so that it is its own adjoint, and the eigenvalues of A'A are the squares of m.

    Args:
        weights: m, (H, W): numbers, or True where a pixel is measured. It is a buffer.

    Raises:
        ValueError: m has another number of dimensions, or is not finite.

    Example:
        >>> mask = Mask(torch.tensor([[True, False], [True, True]]))
        >>> mask(torch.full((1, 2, 2), 3.0))
        tensor([[[3., 0.],
                 [3., 3.]]])
    """

    weights: Float[Tensor, "H W"]

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        if weights.ndim != 2:
            raise ValueError(
                f"the mask must have the height and the width of a picture, got the shape "
                f"{tuple(weights.shape)}"
            )
        m = weights.detach().clone()
        m = m if m.is_floating_point() else m.to(torch.get_default_dtype())
        if not bool(m.isfinite().all()):
            raise ValueError("the mask must be finite, and it is not")
        self.register_buffer("weights", m)

    @override
    def forward(self, x: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        self._check(x.shape[-2:])
        return self.weights * x

    @override
    def adjoint(self, y: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        return self.forward(y)

    @override
    def eigenvalues(self, size: Sequence[int]) -> tuple[float, float]:
        check_size(size)
        self._check(size)
        square = self.weights.double().square()
        return float(square.min()), float(square.max())

    @override
    def spectrum(self, size: Sequence[int]) -> Tensor:
        self._check(size)
        return self.weights.square()

    def _check(self, size: Sequence[int]) -> None:
        if tuple(size) != tuple(self.weights.shape):
            raise ValueError(
                f"the mask is of {self.weights.shape[0]} x {self.weights.shape[1]} pixels and the "
                f"picture of {size[0]} x {size[1]}: make a mask of the picture's size"
            )

    @override
    def extra_repr(self) -> str:
        return f"size={tuple(self.weights.shape)}"
