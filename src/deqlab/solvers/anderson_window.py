"""The last m differences of f(z) and of g = f(z) - z, and their least-squares problem.

    c = argmin |g - dG c|^2 + ridge |dG D^-1 c|^2,    D the column norms of dG

The columns are normalised first, so that the ridge is relative to the data: an absolute one is
blind to the scale of the state.

A window holds 2 m states and no more. Its open column holds f(z) and g of the last point as they
are, until the next point turns them into differences where they stand. A column that a row does
not use is zero there, and so is its coefficient.

The arrays are numpy's on a CPU, where that is several times faster on small states; they are
torch's on other devices, and where a tape records the steps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deqlab.linalg.arrays import (
    CACHED,
    Array,
    as_array,
    combine,
    copied,
    dots,
    solve_rows,
    taken_from,
    written,
)


@dataclass
class Window:
    """The differences that the next step may use; shapes (B, m, D), and (B, m, m) float64."""

    dg: Array
    df: Array
    gram: Array  # dG' dG, one row and column updated a step
    used: int = 0  # columns
    open: int = 0  # the column that holds the last point

    def parts(self) -> list[slice]:
        """Return which rows are best worked on together."""
        batch, _, dim = self.dg.shape
        rows = max(1, CACHED // max(1, dim))
        if not isinstance(self.gram, np.ndarray) or batch <= rows:
            return [slice(None)]
        return [slice(first, first + rows) for first in range(0, batch, rows)]

    def part(self, rows: slice) -> "Window":
        """Return the window of some rows, in the memory of this one."""
        return Window(self.dg[rows], self.df[rows], self.gram[rows], self.used, self.open)

    @classmethod
    def for_states(cls, z: Tensor, m: int, *, taped: bool) -> "Window":
        """Return an empty window of m columns; in float32 at least."""
        shape, gram = (z.shape[0], m, z.shape[1]), (z.shape[0], m, m)
        dtype = torch.promote_types(z.dtype, torch.float32)
        dg, df = z.new_empty(shape, dtype=dtype), z.new_empty(shape, dtype=dtype)
        if z.is_cpu and not taped:
            return cls(dg.numpy(), df.numpy(), np.zeros(gram))
        return cls(dg, df, z.new_zeros(gram, dtype=torch.float64))

    def array(self, matrix: Tensor) -> Array:
        """Return a matrix as an array of the window's kind and precision."""
        return as_array(matrix) if isinstance(self.dg, np.ndarray) else matrix.to(self.dg.dtype)

    def weigh(self, weights: Array | None) -> None:
        """Take note of what brings the blocks of f(z) to one; g is in these units already."""

    def hold(self, fz: Array, g: Array) -> None:
        """Open a column for this point; the oldest, if none is free."""
        self._open_next()
        self.df = written(self.df, (slice(None), self.open), fz)
        self.dg = written(self.dg, (slice(None), self.open), g)

    def held(self) -> tuple[Array, Array]:
        """Return a copy of f(z) and g of the point in the open column."""
        return copied(self.df[:, self.open]), copied(self.dg[:, self.open])

    def close(self, fz: Array, g: Array) -> None:
        """Turn the open column into the differences between this point and the one it holds."""
        column = (slice(None), self.open)
        self.df = taken_from(fz, self.df, column)
        self.dg = taken_from(g, self.dg, column)
        self._count(self.dg[column])

    def coefficients(self, g: Array, ridge: float) -> Array:
        """Return c, one row each; the ridge is added in the scale of each column."""
        n = self.used
        gram, products = self.gram[:, :n, :n], self._products(g)
        if isinstance(gram, np.ndarray):
            gram = gram.copy()
            diagonal = np.einsum("bii->bi", gram)
            diagonal += np.where(diagonal > 0, ridge * diagonal, 1.0)
            return solve_rows(gram, products).astype(g.dtype)
        squares = gram.diagonal(dim1=1, dim2=2)
        gram = gram + torch.diag_embed(torch.where(squares > 0, ridge * squares, 1.0))
        return solve_rows(gram, products.double()).to(g.dtype)

    def less_df(self, fz: Array, coefficients: Array) -> Array:
        """Return f(z) - dF c, row by row."""
        return fz - combine(self.df[:, : self.used], coefficients)

    def less_dg(self, g: Array, coefficients: Array) -> Array:
        """Return g - dG c, row by row."""
        return g - combine(self.dg[:, : self.used], coefficients)

    def forget(self, rows: Array) -> None:
        """Empty the columns of these rows."""
        if isinstance(self.dg, np.ndarray):
            self.dg[rows, : self.used] = 0.0
            self.df[rows, : self.used] = 0.0
            self.gram[rows] = 0.0
        else:
            keep = ~rows[:, None, None]
            self.dg = torch.where(keep, self.dg, 0.0)
            self.df = torch.where(keep, self.df, 0.0)
            self.gram = torch.where(keep, self.gram, 0.0)

    def _open_next(self) -> None:
        """Open a free column, or the oldest."""
        self.open = self.used if self.used < self.dg.shape[1] else (self.open + 1) % self.used

    def _count(self, dg: Array) -> None:
        """Take the open column, whose difference of g this is, into the least-squares problem."""
        i, rows = self.open, slice(None)
        self.used = max(self.used, i + 1)
        products = self._products(dg)
        self.gram = written(self.gram, (rows, slice(self.used), i), products)
        self.gram = written(self.gram, (rows, i, slice(self.used)), products)

    def _products(self, g: Array) -> Array:
        """Return dG' g."""
        return dots(self.dg[:, : self.used], g)
