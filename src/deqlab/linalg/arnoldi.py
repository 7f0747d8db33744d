"""An orthonormal basis of the Krylov space of each row: classical Gram-Schmidt, twice where needed.

    w = A v_k - V h,    h = V' A v_k,    v_(k+1) = w / |w|,

so that A V_k = V_(k+1) H, with h and |w| the next column of H. Source: Arnoldi (1951), "The
principle of minimized iterations in the solution of the matrix eigenvalue problem".

Bases of states on a CPU are numpy's, which is several times faster than torch on small ones. On
another device the basis stays there, and the columns of H come to the host a few at a time.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.linalg.arrays import (
    Array,
    as_tensor,
    choose,
    combine_basis,
    dots_of_basis,
    empty,
    eps,
    less,
    same_dtype,
    same_kind,
    zeros_like,
)
from deqlab.linalg.norms import norms, row_norms
from deqlab.linalg.products import Product

LOSS = 1e-3
"""How far from orthogonal a basis may be. A V = V H holds to rounding whatever its angles, so that
the residual of the recurrence is wrong by a share of this order only; but one pass of Gram-Schmidt
multiplies the loss at every step, and a second one is needed before it comes to 1."""

CHUNK = 8
"""Products in a row without waiting for a device other than the host."""


class Basis:
    """The orthonormal vectors of one cycle, one after another as (B, D) matrices.

    Args:
        apply: The map v -> A v.
        r: What the first vector points along.
        norms: The norms of its rows.
        length: The most vectors there will be, but for the first.
        eps: The distance from 1 to the next number in the precision that is worked in.
        loss: How far from orthogonal the basis may be; 0 for a second pass at every step.
    """

    def __init__(
        self,
        apply: Callable[[Array], Array],
        r: Array,
        norms: Array,
        *,
        length: int,
        eps: float,
        loss: float = LOSS,
    ) -> None:
        self.apply, self.on_host, self.length = apply, isinstance(r, np.ndarray), length
        self.stride = 1 if self.on_host else CHUNK
        self.vectors = empty(min(8, length) + 1, r)
        first = r / _like(norms, r)[:, None]
        # A row without a direction is idle, which on a device nobody knows yet.
        self.vectors[0] = first if self.on_host else torch.where(first.isfinite(), first, 0.0)
        self.count = 1
        self.eps = self.loss = eps  # loss: |V' V - I|, about
        self.allowed = loss

    def extend(self, many: int, idle: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Take this many products; return the columns of H that they are.

        Idle rows are multiplied as zero vectors.
        """
        if idle.any():
            last = self.vectors[self.count - 1]
            self.vectors[self.count - 1] = choose(same_kind(~idle, last), last, zeros_like(last))
        columns = [self._extend_by_one() for _ in range(many)]
        return columns if self.on_host else to_host(columns, [])[0]

    def begin(
        self, many: int, beside: Sequence[Tensor]
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
        """Take the first products on a device, and look at their columns and other numbers at once.

        Args:
            many: How many.
            beside: What else the host wants to know, (B,) each.
        """
        return to_host([self._extend_by_one() for _ in range(many)], beside)

    def combine(self, y: np.ndarray) -> Array:
        """Return the sum of the vectors with these coefficients, (B, k)."""
        return combine_basis(self.vectors[: y.shape[1]], _like(y, self.vectors).T)

    def _loses(self, overlaps: np.ndarray, rest: np.ndarray) -> bool:
        """Return whether one pass leaves a vector that is too far from orthogonal."""
        # The product's own rounding, and what V' V - I makes of V h, relative to what is left.
        squares = np.vecdot(overlaps.T, overlaps.T) / (rest * rest)
        growth = math.sqrt(np.fmax.reduce(squares, initial=0.0))  # leaves out nan
        loss = self.loss * growth + self.eps * (1 + growth)
        if loss > self.allowed:
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
        overlaps = dots_of_basis(basis, w)
        w = less(w, combine_basis(basis, overlaps))
        rest = row_norms(w)
        # On a device, looking would take longer than doing it.
        if not self.on_host or self._loses(overlaps, rest):
            more = dots_of_basis(basis, w)
            w = less(w, combine_basis(basis, more))
            overlaps, rest = overlaps + more, row_norms(w)
        if self.on_host:
            np.divide(w, rest[:, None], out=self.vectors[k])
        else:
            sound = (rest > 0) & (rest < np.inf)
            self.vectors[k] = torch.where(sound[:, None], w / rest[:, None], 0.0)
        self.count += 1
        return overlaps, rest


def to_host(
    columns: list[tuple[Tensor, Tensor]], beside: Sequence[Tensor]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """Return the same columns, and other numbers, on the host, by one transfer."""
    parts = [torch.cat([overlaps, rest[None]]).double() for overlaps, rest in columns]
    parts += [numbers[None].double() for numbers in beside]
    whole = torch.cat(parts).cpu().numpy()
    pieces = np.split(whole, np.cumsum([len(part) for part in parts])[:-1])
    some = [(piece[:-1], piece[-1]) for piece in pieces[: len(columns)]]
    return some, [piece[0] for piece in pieces[len(columns) :]]


def hessenberg(
    product: Product, start: Float[Tensor, "B D"], steps: int
) -> tuple[Float[Tensor, "B K K"], Float[Tensor, " B"]]:
    """Return H_K = V' A V of each row on its Krylov space of K = min(steps, D) dimensions.

    Its eigenvalues approach the outermost ones of A. A row whose space is exhausted gets zeros
    from there on; its eigenvalues are exact then. Source: Saad (2011), "Numerical Methods for
    Large Eigenvalue Problems", ch. 6.

    Args:
        product: The linear map v -> A v.
        start: The first vector of each row; it must not be zero.
        steps: Products to take, at least 1; no more than D are taken.

    Returns:
        The matrices, in float32 at least, and for each row the entry below the last column: zero
        if the space is invariant.
    """
    batch, dim = start.shape
    k, first = min(steps, dim), start.detach().to(torch.promote_types(start.dtype, torch.float32))
    r = first.numpy() if first.is_cpu else first

    def apply(v: Array) -> Array:
        w = product(as_tensor(v).to(start.dtype)).detach().to(first.dtype)
        return w.numpy() if first.is_cpu else w

    h = np.zeros((batch, k + 1, k))
    with np.errstate(all="ignore"):  # the caller looks for rows that are not finite
        basis = Basis(apply, r, norms(r), length=k, eps=eps(r), loss=0.0)
        idle = np.zeros(batch, dtype=bool)
        while basis.count <= k:
            for overlaps, rest in basis.extend(min(basis.stride, k + 1 - basis.count), idle):
                j = len(overlaps) - 1
                overlaps = np.where(idle, 0.0, overlaps)  # of rows that a device went on with
                size = np.sqrt(np.square(overlaps).sum(axis=0) + np.square(rest))
                # What is left after two passes is rounding if it is this small.
                idle = idle | (rest <= 10 * dim**0.5 * eps(r) * size)
                h[:, : j + 1, j], h[:, j + 1, j] = overlaps.T, np.where(idle, 0.0, rest)
    found = torch.from_numpy(h).to(first)
    return found[:, :k], found[:, k, k - 1]


def _like(numbers: Array, array: Array) -> Array:
    """Return numbers, of the host or of its kind, as an array of this kind and dtype."""
    return same_dtype(same_kind(numbers, array), array)
