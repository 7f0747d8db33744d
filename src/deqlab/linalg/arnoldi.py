"""An orthonormal basis of the Krylov space of each row: classical Gram-Schmidt, twice where needed.

    w = A v_k - V h,    h = V' A v_k,    v_(k+1) = w / |w|,

so that A V_k = V_(k+1) H, with h and |w| the next column of H. Source: Arnoldi (1951), "The
principle of minimized iterations in the solution of the matrix eigenvalue problem".

Bases of states on a CPU are numpy's, which is several times faster than torch on small ones. On
another device the basis stays there, and the columns of H come to the host a few at a time.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deqlab.linalg.arrays import Array, dots, empty, less, like, mix, row_norms, where, zeros_like

LOSS = 1e-3
"""How far from orthogonal a basis may be. A V = V H holds to rounding whatever its angles, so that
the residual of the recurrence is wrong by a share of this order only; but one pass of Gram-Schmidt
multiplies the loss at every step, and a second one is needed before it comes to 1."""

CHUNK = 8
"""Products in a row without waiting for a device other than the host."""


class Basis:
    """The orthonormal vectors of one cycle, one after another as (B, D) matrices.

    Args:
        apply: A v.
        r: What the first vector points along.
        norms: Of its rows.
        length: Vectors at most, but for the first.
        eps: Of the precision that is worked in.
    """

    def __init__(
        self,
        apply: Callable[[Array], Array],
        r: Array,
        norms: np.ndarray,
        *,
        length: int,
        eps: float,
    ) -> None:
        self.apply, self.on_host, self.length = apply, isinstance(r, np.ndarray), length
        self.stride = 1 if self.on_host else CHUNK
        self.vectors = empty(min(8, length) + 1, r)
        self.vectors[0] = r / like(norms, r)[:, None]
        self.count = 1
        self.eps = self.loss = eps  # loss: |V' V - I|, about

    def extend(self, many: int, idle: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Take this many products; return the columns of H that they are.

        Idle rows are multiplied as zero vectors.
        """
        if idle.any():
            last = self.vectors[self.count - 1]
            self.vectors[self.count - 1] = where(~idle, last, zeros_like(last))
        columns = [self._extend_by_one() for _ in range(many)]
        return columns if self.on_host else _to_host(columns)

    def combine(self, y: np.ndarray) -> Array:
        """Return the sum of the vectors with these coefficients, (B, k)."""
        return mix(self.vectors[: y.shape[1]], like(y, self.vectors).T)

    def _loses(self, overlaps: np.ndarray, rest: np.ndarray) -> bool:
        """Return whether one pass leaves a vector that is too far from orthogonal."""
        # The product's own rounding, and what V' V - I makes of V h, relative to what is left.
        squares = np.vecdot(overlaps.T, overlaps.T) / (rest * rest)
        growth = math.sqrt(np.fmax.reduce(squares, initial=0.0))  # leaves out nan
        loss = self.loss * growth + self.eps * (1 + growth)
        if loss > LOSS:
            return True
        self.loss = max(self.loss, loss)
        return False

    def _extend_by_one(self) -> tuple[Array, Array]:
        k = self.count
        if k == len(self.vectors):
            more = empty(min(2 * k, self.length + 1), self.vectors[0])
            more[:k] = self.vectors
            self.vectors = more
        basis = self.vectors[:k]
        w = self.apply(basis[k - 1])
        overlaps = dots(basis, w)
        w = less(w, mix(basis, overlaps))
        rest = row_norms(w)
        # On a device, looking would take longer than doing it.
        if not self.on_host or self._loses(overlaps, rest):
            more = dots(basis, w)
            w = less(w, mix(basis, more))
            overlaps, rest = overlaps + more, row_norms(w)
        if self.on_host:
            np.divide(w, rest[:, None], out=self.vectors[k])
        else:
            sound = (rest > 0) & (rest < np.inf)
            self.vectors[k] = torch.where(sound[:, None], w / rest[:, None], 0.0)
        self.count += 1
        return overlaps, rest


def _to_host(columns: list[tuple[Tensor, Tensor]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same columns on the host, by one transfer."""
    parts = [torch.cat([overlaps, rest[None]]) for overlaps, rest in columns]
    whole = torch.cat(parts).cpu().numpy()
    pieces = np.split(whole, np.cumsum([len(part) for part in parts])[:-1])
    return [(piece[:-1], piece[-1]) for piece in pieces]
