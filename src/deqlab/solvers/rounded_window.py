"""A window of Anderson acceleration whose differences are kept in fewer bits than the state.

The rounding of a difference is relative to that difference, which goes to zero with the residual:
it slows the acceleration at most, and moves no fixed point. What it must not touch is f(z) and g of
the last point, for the next difference is what is left when these cancel: they stay as they are. So
m columns take 2 m states times the share of the bits, and 2 states beside.

Each column is stored in units of the power of two below its largest number, and those of f(z) with
blocks of different scales brought to one, so that nothing leaves the range of the fewer bits, and
the units of the state change no digit. The coefficient of a column in other units is in other units
too, and the step is the same. Products are taken a piece at a time, in the precision of the state;
sums are in float64.

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
    in_float64,
    is_finite,
    known_none,
    power_of_two_below,
    row_max,
    same_dtype,
    same_kind,
    where,
    written,
    zeros_like,
)
from deqlab.solvers.anderson_window import Window

PIECE = 2**18
"""Numbers of the window that are brought to the precision of the state at a time."""


@dataclass(kw_only=True)
class RoundedWindow(Window):
    """The differences in fewer bits, and the last point as it is."""

    ratio: Array  # the units of a column of dF in those of the column of dG, (B, m) float64
    weights: Array | None = None  # of the columns of dF, (B, D) or (B, 1)
    fz: Array = None  # (B, D)
    g: Array = None  # (B, D)

    @classmethod
    def of_dtype(cls, dtype: torch.dtype, z: Tensor, m: int) -> "RoundedWindow":
        """Return an empty window of m columns in this dtype."""
        rows = len(z)
        dg, df = (z.new_zeros((rows, m, z.shape[1]), dtype=dtype) for _ in range(2))
        host = np.zeros((rows, m, m)), np.ones((rows, m))
        gram, ratio = host if z.is_cpu else (same_kind(each, z) for each in host)
        return cls(dg=dg, df=df, gram=gram, ratio=ratio)

    @override
    def parts(self) -> list[slice]:
        return [slice(None)]

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
        self.fz, self.g = copied(fz), copied(g)

    @override
    def held(self) -> tuple[Array, Array]:
        return self.fz, self.g

    @override
    def close(self, fz: Array, g: Array) -> None:
        column = (slice(None), self.open)
        df, unit_f = _in_units(self._weighted(fz - self.fz))
        dg, unit_g = _in_units(g - self.g)
        self.df[column], self.dg[column] = as_tensor(df), as_tensor(dg)
        self.ratio = written(self.ratio, column, unit_f / unit_g)
        self._count(self._read(self.dg[column], g))

    @override
    def less_df(self, fz: Array, coefficients: Array) -> Array:
        coefficients = coefficients * self.ratio[:, : self.used]
        if self.weights is None:
            return self._less(fz, self.df, coefficients)
        return fz + self._less(zeros_like(fz), self.df, coefficients) / self.weights

    @override
    def less_dg(self, g: Array, coefficients: Array) -> Array:
        return self._less(g, self.dg, coefficients)

    @override
    def forget(self, rows: Array) -> None:
        for columns in (self.dg, self.df):
            columns.masked_fill_(as_tensor(rows)[:, None, None], 0.0)
        self.gram = where(rows[:, None, None], 0.0, self.gram)

    @override
    def _products(self, g: Array) -> Array:
        found = same_kind(np.zeros((len(g), self.used)), g)
        for piece in self._pieces():
            found += dots(self._read(self.dg[:, : self.used, piece], g), g[:, piece])
        return found

    def _weighted(self, difference: Array) -> Array:
        return difference if self.weights is None else difference * self.weights

    def _less(self, head: Array, columns: Tensor, coefficients: Array) -> Array:
        less, weights = copied(head), same_dtype(coefficients, head)
        for piece in self._pieces():
            less[:, piece] -= combine(self._read(columns[:, : self.used, piece], head), weights)
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


def _in_units(difference: Array) -> tuple[Array, Array]:
    """Return each row in units of a power of two near its largest number, and these, (B,) float64.

    The largest is then between 1 and 2.
    """
    largest = row_max(abs(difference))
    unit = power_of_two_below(where((largest > 0) & is_finite(largest), largest, 1.0))
    difference /= unit[:, None]
    return difference, in_float64(unit)
