"""U C U' + s I: a matrix of low rank, and a multiple of the identity.

Everything here costs O(n r^2) time and O(n r) memory for n rows and rank r, and never an n x n
matrix unless it is asked for. With U'U = W L W', the eigenvalues of U C U' that are not zero are
those of the r x r matrix L^(1/2) W'C W L^(1/2), and its eigenvectors, mapped by U W L^(-1/2), are
orthonormal ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

SPAN = 1e-13
"""Directions of U below this share of the largest are rounding of U'U, and no directions."""


@dataclass(frozen=True, eq=False)
class LowRankPlusIdentity:
    """A symmetric matrix U C U' + shift I.

    Attributes:
        factors: The columns of U, in matrices of n rows that stand side by side; none is copied.
        core: C, symmetric.
        shift: What multiplies I.
    """

    factors: Sequence[Float[Tensor, "n _"]]
    core: Float[Tensor, "r r"]
    shift: float

    @property
    def shape(self) -> tuple[int, int]:
        """The size of the matrix."""
        n = len(self.factors[0])
        return n, n

    @property
    def rank(self) -> int:
        """The rank of U: how many eigenvectors `leading` has."""
        return len(self._inner[0])

    def dense(self) -> Float[Tensor, "n n"]:
        """Return the matrix itself: n^2 numbers."""
        u = torch.cat(list(self.factors), dim=1)
        whole = u @ self.core @ u.T
        whole.diagonal().add_(self.shift)
        return whole

    def matmul(self, v: Tensor) -> Tensor:
        """Return the product with a vector (n,), or with the columns of a matrix (n, k)."""
        inner = torch.cat([factor.T @ v for factor in self.factors])
        parts = (self.core @ inner).split([factor.shape[1] for factor in self.factors])
        result = self.shift * v
        for factor, part in zip(self.factors, parts, strict=True):
            result = result + factor @ part
        return result

    def diagonal(self) -> Float[Tensor, " n"]:
        """Return the diagonal."""
        u = torch.cat(list(self.factors), dim=1)
        return ((u @ self.core) * u).sum(dim=1) + self.shift

    def eigvalsh(self) -> Float[Tensor, " n"]:
        """Return all eigenvalues, in ascending order."""
        n = self.shape[0]
        values, _ = self._inner
        rest = values.new_full((max(0, n - len(values)),), self.shift)
        return torch.cat([values + self.shift, rest]).sort().values

    def leading(self, k: int) -> tuple[Float[Tensor, " k"], Float[Tensor, "n k"]]:
        """Return the k eigenvalues farthest from `shift`, the largest distance first, and theirs.

        Args:
            k: At least 1, and at most the rank of U.

        Raises:
            ValueError: There are not so many.
        """
        values, vectors = self._inner
        if not 1 <= k <= len(values):
            raise ValueError(f"k must be 1 to {len(values)}, the rank of U, got {k}")
        order = values.abs().argsort(descending=True)[:k]
        parts = vectors[:, order].split([factor.shape[1] for factor in self.factors])
        columns = sum(factor @ part for factor, part in zip(self.factors, parts, strict=True))
        assert isinstance(columns, Tensor)
        return values[order] + self.shift, columns

    @cached_property
    def _inner(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "r k"]]:
        """The eigenvalues of U C U' on the span of U, and what U maps to its eigenvectors."""
        gram = torch.cat([torch.cat([a.T @ b for b in self.factors], dim=1) for a in self.factors])
        squares, basis = torch.linalg.eigh(gram)
        kept = squares > SPAN * squares[-1].clamp(min=0)
        # A span of more dimensions than the matrix has rows is rounding too.
        kept[: -self.shape[0]] = False
        sizes, basis = squares[kept].sqrt(), basis[:, kept]
        inner = sizes[:, None] * (basis.T @ self.core @ basis) * sizes
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
        return values, (basis / sizes) @ vectors
