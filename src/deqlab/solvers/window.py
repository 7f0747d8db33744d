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
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from deqlab.state import CACHED, as_array

Array: TypeAlias = Any
"""np.ndarray, or Tensor."""


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
        if not isinstance(self.dg, np.ndarray) or batch <= rows:
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

    def hold(self, fz: Array, g: Array) -> None:
        """Open a column for this point; the oldest, if none is free."""
        self.open = self.used if self.used < self.dg.shape[1] else (self.open + 1) % self.used
        self.df = _write(self.df, self.open, fz)
        self.dg = _write(self.dg, self.open, g)

    def held(self) -> tuple[Array, Array]:
        """Return a copy of f(z) and g of the point in the open column."""
        copy = np.copy if isinstance(self.dg, np.ndarray) else torch.clone
        return copy(self.df[:, self.open]), copy(self.dg[:, self.open])

    def close(self, fz: Array, g: Array) -> None:
        """Turn the open column into the differences between this point and the one it holds."""
        i = self.open
        self.used = max(self.used, i + 1)
        self.df = _take_from(fz, self.df, i)
        self.dg = _take_from(g, self.dg, i)
        products = self._products(self.dg[:, i])
        self.gram = _write(self.gram, (slice(self.used), i), products)
        self.gram = _write(self.gram, (i, slice(self.used)), products)

    def coefficients(self, g: Array, ridge: float) -> Array:
        """Return c, one row each; the ridge is added in the scale of each column."""
        n = self.used
        gram, products = self.gram[:, :n, :n], self._products(g)
        if isinstance(gram, np.ndarray):
            gram = gram.copy()
            diagonal = np.einsum("bii->bi", gram)
            diagonal += np.where(diagonal > 0, ridge * diagonal, 1.0)
            return _solve(gram, products).astype(g.dtype)
        squares = gram.diagonal(dim1=1, dim2=2)
        gram = gram + torch.diag_embed(torch.where(squares > 0, ridge * squares, 1.0))
        return _solve_ex(gram, products.double()).to(g.dtype)

    def move(self, columns: Array, head: Array, coefficients: Array) -> Array:
        """Return head - columns' coefficients, row by row; columns are `dg` or `df`."""
        return head - (coefficients[:, None] @ columns[:, : self.used])[:, 0]

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

    def _products(self, g: Array) -> Array:
        """Return dG' g."""
        columns = self.dg[:, : self.used]
        if isinstance(columns, np.ndarray):
            return np.vecdot(columns, g[:, None])
        # Rows times columns: the other way round a batched matrix-vector product is eight times
        # slower on a CPU.
        return torch.bmm(g[:, None], columns.mT)[:, 0]


def row_norms(g: Array) -> Array:
    """Return the norm of each row."""
    if isinstance(g, np.ndarray):
        return np.sqrt(np.vecdot(g, g))
    return torch.linalg.vector_norm(g.detach(), dim=1)


def choose(rows: Array, yes: Array, no: Array) -> Array:
    """Return the rows of `yes` where `rows` is true, and those of `no` elsewhere."""
    where = np.where if isinstance(rows, np.ndarray) else torch.where
    return where(rows if no.ndim == 1 else rows[:, None], yes, no)


def smaller(a: Array, b: Array) -> Array:
    """Return the elementwise minimum; nan where one is."""
    return np.minimum(a, b) if isinstance(a, np.ndarray) else torch.minimum(a, b)


def _write(array: Array, column: Any, values: Array) -> Array:  # noqa: ANN401
    """Return `array` with one column replaced: in place, unless a tape still needs the old one."""
    index = (slice(None), *column) if isinstance(column, tuple) else (slice(None), column)
    taped = isinstance(values, Tensor) and (values.requires_grad or array.requires_grad)
    if taped and torch.is_grad_enabled():
        array = array.clone()
    array[index] = values
    return array


def _take_from(values: Array, array: Array, column: int) -> Array:
    """Return `array` with values - array[:, column] in place of that column."""
    if isinstance(array, np.ndarray):
        np.subtract(values, array[:, column], out=array[:, column])
        return array
    return _write(array, column, values - array[:, column])


def _solve(gram: np.ndarray, products: np.ndarray) -> np.ndarray:
    try:
        coefficients: np.ndarray = np.linalg.solve(gram, products[..., None])[..., 0]
    except np.linalg.LinAlgError:  # one singular row is enough for it
        host = _solve_ex(torch.from_numpy(gram), torch.from_numpy(products).double())
        return np.asarray(host.numpy())
    sound = np.isfinite(coefficients)
    return coefficients if sound.all() else np.where(sound.all(axis=1)[:, None], coefficients, 0.0)


def _solve_ex(gram: Tensor, products: Tensor) -> Tensor:
    coefficients: Tensor
    # solve_ex marks a singular row in `info` instead of raising for the whole batch.
    coefficients, info = torch.linalg.solve_ex(gram, products)
    sound = (info == 0) & coefficients.isfinite().all(dim=1)
    return torch.where(sound[:, None], coefficients, 0.0)
