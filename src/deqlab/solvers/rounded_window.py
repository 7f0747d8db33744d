"""A window of Anderson acceleration whose differences are kept in fewer bits than the state.

The rounding of a difference is relative to that difference, which goes to zero with the residual:
it slows the acceleration at most, and moves no fixed point. What it must not touch is f(z) and g of
the last point, for the next difference is what is left when these cancel: they stay as they are. So
m columns take 2 m states times the share of the bits, and 2 states beside.

Each column is stored in units of its norm, and those of f(z) with blocks of different scales
brought to one, so that nothing leaves the range of the fewer bits, and the units of the state
change no digit. The coefficient of a column in other units is in other units too, and the step is
the same. Products are taken a piece at a time, in the precision of the state; sums are in float64.

The columns are torch's everywhere, for numpy has no bfloat16; all else is of the kind that `Window`
has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.arrays import (
    Array,
    as_array,
    as_tensor,
    combine,
    copied,
    dots,
    is_finite,
    known_none,
    same_dtype,
    same_kind,
    taken_from,
    where,
    written,
)
from deqlab.linalg.norms import row_norms
from deqlab.solvers.anderson_window import Window

PIECE = 2**18
"""Numbers of the window that are brought to the precision of the state at a time."""


@dataclass(kw_only=True)
class RoundedWindow(Window):
    """The differences in fewer bits, and the last point as it is."""

    fz: Array  # of the last point, (B, D)
    g: Array  # likewise
    ratio: Array  # the units of a column of dF in those of the column of dG, (B, m) float64
    weights: Array | None = None  # of the columns of dF, (B, D) or (B, 1)

    @classmethod
    def of_dtype(cls, dtype: torch.dtype, z: Tensor, m: int) -> "RoundedWindow":
        """Return an empty window of m columns in this dtype."""
        rows, dim = z.shape
        dg, df = (z.new_zeros((rows, m, dim), dtype=dtype) for _ in range(2))
        working = torch.promote_types(z.dtype, torch.float32)
        others: list[Array] = [z.new_zeros((rows, dim), dtype=working) for _ in range(2)]
        others += [z.new_zeros((rows, m, m), dtype=torch.float64)]
        others += [z.new_ones((rows, m), dtype=torch.float64)]
        fz, g, gram, ratio = map(Tensor.numpy, others) if z.is_cpu else others
        return cls(dg=dg, df=df, gram=gram, fz=fz, g=g, ratio=ratio)

    @override
    def part(self, rows: slice) -> "RoundedWindow":
        return RoundedWindow(
            dg=self.dg[rows],
            df=self.df[rows],
            gram=self.gram[rows],
            used=self.used,
            open=self.open,
            fz=self.fz[rows],
            g=self.g[rows],
            ratio=self.ratio[rows],
            weights=None if self.weights is None else self.weights[rows],
        )

    @override
    def array(self, matrix: Tensor) -> Array:
        if matrix.is_cpu:
            return as_array(matrix)
        return matrix.to(torch.promote_types(matrix.dtype, torch.float32))

    @override
    def weigh(self, weights: Array | None) -> None:
        """Rows whose weights have changed, as a block at rest has woken, lose their columns."""
        if self.weights is not None and not known_none(changed := (weights != self.weights).any(1)):
            self.forget(changed)
        self.weights = weights

    @override
    def hold(self, fz: Array, g: Array) -> None:
        self._open_next()
        self.fz, self.g = written(self.fz, ..., fz), written(self.g, ..., g)

    @override
    def held(self) -> tuple[Array, Array]:
        return copied(self.fz), copied(self.g)

    @override
    def close(self, fz: Array, g: Array) -> None:
        column = (slice(None), self.open)
        # In the memory of the last point, which nobody needs any more.
        self.fz, self.g = taken_from(fz, self.fz, ...), taken_from(g, self.g, ...)
        if self.weights is not None:
            self.fz *= self.weights
        units = _units(self.fz), _units(self.g)
        for columns, difference, unit in zip(
            (self.df, self.dg), (self.fz, self.g), units, strict=True
        ):
            difference /= unit[:, None]
            columns[column] = as_tensor(difference)
        self.ratio = written(self.ratio, column, units[0] / units[1])
        self._count(self._read(self.dg[column], g))

    @override
    def less_df(self, fz: Array, coefficients: Array) -> Array:
        coefficients = coefficients * self.ratio[:, : self.used]
        return self._less(fz, self.df, coefficients, self.weights)

    @override
    def less_dg(self, g: Array, coefficients: Array) -> Array:
        return self._less(g, self.dg, coefficients, None)

    @override
    def forget(self, rows: Array) -> None:
        for numbers in (self.dg, self.df, as_tensor(self.gram)):
            numbers.masked_fill_(as_tensor(rows)[:, None, None], 0.0)

    @override
    def _products(self, g: Array) -> Array:
        found = same_kind(np.zeros((len(g), self.used)), g)
        for piece in self._pieces():
            found += dots(self._read(self.dg[:, : self.used, piece], g), g[:, piece])
        return found

    def _less(
        self, head: Array, columns: Tensor, coefficients: Array, weights: Array | None
    ) -> Array:
        less, coefficients = copied(head), same_dtype(coefficients, head)
        for piece in self._pieces():
            step = combine(self._read(columns[:, : self.used, piece], head), coefficients)
            less[:, piece] -= step if weights is None else step / weights[:, piece]
        return less

    def _read(self, part: Tensor, like: Array) -> Array:
        """Return what is stored, in the precision and of the kind of another array."""
        if isinstance(like, np.ndarray):
            return part.to(as_tensor(like[:0]).dtype).numpy()
        return part.to(like.dtype)

    def _pieces(self) -> Iterator[slice]:
        rows, columns, dim = self.dg.shape
        width = max(1, PIECE // max(1, rows * columns))
        return (slice(first, first + width) for first in range(0, dim, width))


def _units(difference: Array) -> Array:
    """Return the norm of each row; 1 where there is none."""
    size = row_norms(difference)
    return where((size > 0) & is_finite(size), size, 1.0)
