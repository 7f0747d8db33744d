"""The steps of each row since its restart, and the product that they make.

    (I + s_k s_{k-1}' / |s_{k-1}|^2) ... (I + s_1 s_0' / |s_0|^2) = I + S' C S

The steps are the rows of S, and C is strictly lower triangular. With G = S S', the row of C for a
new step s_q after s_p is

    C_q = (e_p + G_p C) / |s_p|^2,

or zero where the update is skipped. G grows without another pass over the steps: a new one is a
sum of g and of old ones, whose products are known.

Rows share one buffer, and differ in how many steps they hold. What a row does not hold is zero in
S, C and G, and changes nothing. Steps are in the precision of the state, products in float64. The
arrays are numpy's on a CPU, where that is several times faster on small states; they are torch's on
other devices, and where a tape records the steps.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from deqlab.linalg.arrays import (
    Array,
    as_array,
    combine,
    dots,
    eps,
    every,
    more,
    rescaled,
    same_kind,
    scaled,
    where,
    widened,
    written,
)

Slots: TypeAlias = tuple[Any, Any]
"""Rows, and the place of one step in each."""

FIRST = 12
"""Steps to make room for at first; the buffer doubles when they are exceeded."""


@dataclass
class Updates:
    """S, C and G of every row."""

    steps: Array  # (B, n, D)
    product: Array  # C, (B, n, n)
    gram: Array  # G, (B, n, n)
    count: np.ndarray  # (B,), steps held
    room: int  # steps that a row may hold
    even: int = 0  # the count of every row, or -1 if they may differ

    @classmethod
    def for_states(cls, z: Tensor, room: int) -> "Updates":
        """Return no updates yet; in float32 at least."""
        n, count = min(room, FIRST), np.zeros(len(z), dtype=int)
        shape, square = (len(z), n, z.shape[1]), (len(z), n, n)
        if z.device.type == "cpu" and not torch.is_grad_enabled():
            dtype = np.float64 if z.dtype == torch.float64 else np.float32
            # Zeros that nobody wrote to take no memory yet.
            return cls(np.zeros(shape, dtype), np.zeros(square), np.zeros(square), count, room)
        steps = z.new_zeros(shape, dtype=torch.promote_types(z.dtype, torch.float32))
        product, gram = (z.new_zeros(square, dtype=torch.float64) for _ in range(2))
        return cls(steps, product, gram, count, room)

    def array(self, matrix: Tensor) -> Array:
        """Return a matrix as an array of the kind and precision of the steps."""
        if isinstance(self.steps, np.ndarray):
            return as_array(matrix)
        return matrix.to(self.steps.dtype)

    def mask(self, rows: np.ndarray) -> Array:
        """Return a mask or an index of the host as an array of the same kind as the steps."""
        return same_kind(rows, self.steps)

    def full(self) -> np.ndarray:
        """Return which rows have no room for another step."""
        full: np.ndarray = self.count == self.room
        return full

    def last_size(self) -> Array:
        """Return the norm of the last step of every row; a constant to a tape."""
        last = self._last()
        square = self.gram[last][last]
        return np.sqrt(square) if isinstance(square, np.ndarray) else square.detach().sqrt()

    def start(self, rows: np.ndarray, step: Array) -> None:
        """Let these rows forget what they hold, for this step."""
        if self.even:
            self.even = 0 if every(rows) else -1
            self.count[rows] = 0
            index = self.mask(rows)
            self.steps = written(self.steps, index, 0.0)
            self.product = written(self.product, index, 0.0)
            self.gram = written(self.gram, index, 0.0)
        none = self.product[:, 0, :1]  # zeros
        self._append(rows, step, none, none)

    def extend(self, g: Array, beta: Array, rows: np.ndarray) -> Array:
        """Return the step -H g of every row, with H updated; these rows hold it from now on."""
        n = self._longest()
        steps, product, gram = self.steps[:, :n], self.product[:, :n, :n], self.gram[:, :n, :n]
        overlaps = wide_dots(steps, g)
        weights = wide_dots(product, overlaps)
        w = more(g, combine(steps, weights))

        last = self._last()
        products = gram[last]  # G_p, (B, n)
        square = products[last]
        shrink = 1 - beta * wide_dots(steps[last][:, None], w)[:, 0] / square
        # s'H dg = shrink |s|^2: what is no more than rounding would send z anywhere.
        sound = (abs(shrink) > 10 * eps(g)) & (square > 0)
        scale = beta / where(sound, shrink, 1.0)
        coupling = combine(product, products)
        coupling[last] += 1.0
        coupling = coupling * where(sound, 1 / where(sound, square, 1.0), 0.0)[:, None]

        step = rescaled(scale, w)
        self._append(rows, step, coupling, scaled(scale, overlaps + wide_dots(gram, weights)))
        return step

    def apply(self, v: Array, *, transposed: bool) -> Array:
        """Return the product of all factors times v, or of their transposes."""
        n = self._longest()
        steps, product = self.steps[:, :n], self.product[:, :n, :n]
        overlaps = wide_dots(steps, v)
        weights = combine(product, overlaps) if transposed else wide_dots(product, overlaps)
        return v + combine(steps, weights)

    def _longest(self) -> int:
        """Return how many steps the longest row holds; 1 at least."""
        if self.even < 0 and len(self.count):
            least, most = int(self.count.min()), int(self.count.max())
            self.even = most if least == most else -1
            return max(1, most)
        return max(1, self.even)

    def _append(self, rows: np.ndarray, step: Array, coupling: Array, products: Array) -> None:
        """Give these rows one more step, with its row of C and of G."""
        n = slice(coupling.shape[1])
        if self.even >= 0 and every(rows):
            who, place = slice(None), self.even
            self.even += 1
            self._reserve(self.even)
        elif not rows.any():
            return
        else:
            who, counts = self.mask(np.flatnonzero(rows)), self.count[rows]
            place, self.even = self.mask(counts), -1
            self._reserve(int(counts.max()) + 1)
            step, coupling, products = step[who], coupling[who], products[who]
        self.count[rows] += 1
        self.steps = written(self.steps, (who, place), step)
        self.product = written(self.product, (who, place, n), coupling)
        self.gram = written(self.gram, (who, place, n), products)
        self.gram = written(self.gram, (who, n, place), products)
        self.gram = written(self.gram, (who, place, place), wide_dots(step[:, None], step)[:, 0])

    def _reserve(self, n: int) -> None:
        """Make room for n steps a row."""
        if n > self.steps.shape[1]:
            n = min(max(n, 2 * self.steps.shape[1]), self.room)
            self.steps = widened(self.steps, (n, self.steps.shape[2]))
            self.product = widened(self.product, (n, n))
            self.gram = widened(self.gram, (n, n))

    def _last(self) -> Slots:
        """Return an index of the last step of every row."""
        if self.even >= 0:
            return slice(None), max(0, self.even - 1)
        place = np.maximum(self.count - 1, 0)
        return self.mask(np.arange(len(place))), self.mask(place)


def wide_dots(columns: Array, v: Array) -> Array:
    """Return `dots` in float64."""
    found = dots(columns, v)
    return found.astype(np.float64, copy=False) if isinstance(found, np.ndarray) else found.double()
