"""What a measurement is: a linear map A of pictures, its adjoint, and what is known of A'A.

A reconstruction from y = A x + noise descends |A z - y|^2 / 2, whose gradient is A'A z - A'y. Its
step and its convergence depend on the least and the largest eigenvalue of A'A, at the size of the
picture.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override


class Measurement(nn.Module, ABC):
    """A linear map A from pictures (..., H, W) to measurements of the same shape."""

    @abstractmethod
    @override
    def forward(self, x: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        """Return A x."""

    @abstractmethod
    def adjoint(self, y: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        """Return A'y."""

    @abstractmethod
    def eigenvalues(self, size: Sequence[int]) -> tuple[float, float]:
        """Return bounds on the eigenvalues of A'A, from below and from above.

        Args:
            size: The height and the width of the picture.

        Raises:
            ValueError: A does not take pictures of this size.
        """

    def normal(self, x: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        """Return A'A x."""
        return self.adjoint(self(x))

    def spectrum(self, size: Sequence[int]) -> Tensor:
        """Return the eigenvalues of A'A in the basis of `scaled`, for pictures of this size.

        Raises:
            ValueError: No basis is known in which A'A is diagonal.
        """
        raise ValueError(
            f"A'A of this {type(self).__name__} is diagonal in no known basis, so that A'A + w I "
            "is not inverted at once: take a cell of gradient steps"
        )

    def scaled(self, x: Float[Tensor, "*B H W"], factors: Tensor) -> Float[Tensor, "*B H W"]:
        """Return x, its coefficients in the basis of `spectrum` multiplied by these factors."""
        return factors * x
