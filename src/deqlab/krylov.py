"""Restarted GMRES for (I - A) x = b, one system per row, matrix-free.

After k products A v the iterate of each row is the x of least residual in its Krylov space:

    x_k = argmin |b - (I - A) x|    over x in x_0 + span{r_0, A r_0, ..., A^(k-1) r_0}.

Source: Saad & Schultz (1986), "GMRES: a generalized minimal residual algorithm for solving
nonsymmetric linear systems", SIAM J. Sci. Stat. Comput. 7(3). From x_0 = 0 the space holds every
partial sum b + A b + A^2 b + ... of the Neumann series, so that no k products do better.

With V the orthonormal basis and A V_k = V_{k+1} H, this is a problem of k unknowns per row that
`hessenberg` solves on the host. The bases of states on a CPU are numpy's too, which is several
times faster than torch on small ones. On another device the basis stays there, and the columns of
H come to the host a few at a time.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.hessenberg import LeastSquares
from deqlab.operators import Product
from deqlab.rates import recent_rate

Array: TypeAlias = Any
"""np.ndarray on a CPU, Tensor on another device."""

LOSS = 1e-3
"""How far from orthogonal a basis may be. A V = V H holds to rounding whatever its angles, so that
the residual of the recurrence is wrong by a share of this order only; but one pass of Gram-Schmidt
multiplies the loss at every step, and a second one is needed before it comes to 1."""

ROUNDING = 2.0
"""In units of eps (|b| + |I - A| |x|): a residual that the recurrence puts below it is rounding
until a product has confirmed it."""

STALLED = 0.999
"""A restart that leaves more than this share of the residual ends its row."""

CHUNK = 8
"""Products in a row without waiting for a device other than the host."""

HOST = "cpu"
"""The kind of device whose memory numpy shares."""


@dataclass(frozen=True, kw_only=True)
class GmresResult:
    """The answer for each row.

    Attributes:
        x: Where each row stopped; finite.
        residual: |b - (I - A) x|, by the recurrence, which is right to a rounding error of
            eps (|b| + |I - A| |x|) and never reported below that unless a product measured it.
            Not finite where b, or the first product, is not.
        tolerance: What `residual` was allowed to be.
        converged: Whether it is within.
        failed: Whether a product of the row was not finite.
        products: Calls of `product`.
        trace: The residual of every row after each product; a row that has ended stands still.
    """

    x: Float[Tensor, "B D"]
    residual: Float[np.ndarray, " B"]
    tolerance: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    failed: Bool[np.ndarray, " B"]
    products: int
    trace: Float[np.ndarray, "T B"]


def gmres(
    product: Product,
    b: Float[Tensor, "B D"],
    *,
    tolerance: Float[np.ndarray, " B"],
    by_error: bool = False,
    max_products: int,
    x0: Float[Tensor, "B D"] | None = None,
    restart: int = 30,
    running: Bool[np.ndarray, " B"] | None = None,
) -> GmresResult:
    """Solve x = A x + b, row by row, each to its own tolerance.

    A row ends when its residual is within the tolerance, when a whole cycle brought it nothing,
    or when a product is not finite; it is then multiplied as a zero vector, and the other rows do
    not feel it. Nothing is recorded on a tape.

    Args:
        product: v -> A v for all rows at once, in the dtype of b; row i of it must depend on row
            i alone. It is called with vectors of norm 1, or 0.
        b: The right-hand sides. In half precision, all but the products is done in float32.
        tolerance: What |b - (I - A) x| may be, 0 or more; absolute.
        by_error: Hold |b - (I - A) x| / (1 - rho) to the tolerance instead, with rho the rate at
            which it fell lately. Relative to |b| this estimates the relative error of x: within a
            factor of about two on the workloads of `benchmarks`.
        max_products: Calls of `product` at most, 1 or more.
        x0: Where to start, at the price of one product; None for 0.
        restart: Products in one cycle, 1 or more. Memory: restart + 3 states at most, allocated
            as they are needed.
        running: Rows to solve; the others keep their start. None for all.

    Raises:
        ValueError: `restart` or `max_products` is below 1.

    Example:
        >>> import numpy as np, torch
        >>> result = gmres(lambda v: 0.5 * v, torch.ones(1, 4), tolerance=np.array([1e-5]),
        ...     max_products=5)
        >>> result.x, result.products
        (tensor([[2., 2., 2., 2.]]), 1)
    """
    for name, value in (("restart", restart), ("max_products", max_products)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    with torch.no_grad(), np.errstate(all="ignore"):  # rows that are not finite are looked for
        system = _System(product, b, max_products)
        rows = _Rows(system, tolerance, running, x0)
        rows.by_error = by_error
        rows.solve(min(restart, max(1, b.shape[1])))
    return GmresResult(
        x=system.tensor(rows.x),
        residual=rows.residual,
        tolerance=rows.tolerance,
        converged=rows.residual <= rows.tolerance,
        failed=rows.failed,
        products=len(system.trace),
        trace=np.array(system.trace).reshape(len(system.trace), len(b)),
    )


class _System:
    """(I - A) x = b in the precision and kind of array that is worked in."""

    def __init__(self, product: Product, b: Tensor, max_products: int) -> None:
        self.product, self.left = product, max_products
        self.dtype, self.work = b.dtype, torch.promote_types(b.dtype, torch.float32)
        self.eps = torch.finfo(self.work).eps
        self.on_host = b.device.type == HOST
        self.b = self.array(b)
        self.norms = _norms(self.b)
        self.trace: list[np.ndarray] = []

    def array(self, matrix: Tensor) -> Array:
        if matrix.dtype != self.work or matrix.requires_grad:
            matrix = matrix.detach().to(self.work)
        return matrix.numpy() if self.on_host else matrix

    def tensor(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(array) if self.on_host else array
        return tensor if self.dtype == self.work else tensor.to(self.dtype)

    def apply(self, v: Array) -> Array:
        """Return A v."""
        self.left -= 1
        return self.array(self.product(self.tensor(v)))


class _Rows:
    """Where each row stands, and which of them are open: neither solved nor given up."""

    def __init__(
        self, system: _System, tolerance: np.ndarray, running: np.ndarray | None, x0: Tensor | None
    ) -> None:
        self.system, self.asked, self.tolerance = system, tolerance, tolerance
        self.by_error = False
        self.failed = np.zeros(len(tolerance), dtype=bool)
        self.x: Array = _zeros_like(system.b)
        self.size = np.zeros(len(tolerance))  # |x| at most
        self.r: Array | None = system.b  # b - (I - A) x; None where only its norm is known
        self.residual = system.norms
        if x0 is not None:
            self.x = system.array(x0)
            self.size = _norms(self.x)
            self.r, self.residual = self._measured()
            system.trace.append(self.residual)
        finite = np.isfinite(self.residual)
        self.x = _where(finite, self.x, _zeros_like(self.x))
        self.open = finite & (self.residual > tolerance)
        if running is not None:
            self.open &= running

    def solve(self, length: int) -> None:
        """Run cycles of up to `length` products."""
        while self.open.any() and self.system.left:
            if self.r is None:
                self._restart()
            else:
                self._cycle(self.r, length)

    def _measured(self) -> tuple[Array, np.ndarray]:
        r = self.system.b - self.x + self.system.apply(self.x)
        return r, _norms(r)

    def _restart(self) -> None:
        """Measure the open rows, and give up those that the last cycle brought nothing."""
        self.r, measured = self._measured()
        worse = self.open & ~(measured <= self.before)  # true for nan
        self.x = _where(worse, self.x_before, self.x)
        measured = np.where(worse, self.before, measured)
        self.residual = np.where(self.open, measured, self.residual)
        self.system.trace.append(self.residual)
        self.open &= (measured > self.tolerance) & (measured <= STALLED * self.before)

    def _cycle(self, r: Array, length: int) -> None:
        """Minimise the residual over one Krylov space."""
        system = self.system
        self.x_before, self.before = self.x, self.residual
        basis = _Basis(system, r, self.residual, length)
        trace = [self.residual]
        small = LeastSquares(self.residual, self.tolerance, self.open, system.eps)
        while not small.closed.all() and system.left and len(small.columns) < length:
            many = min(basis.stride, system.left, length - len(small.columns))
            for overlaps, rest in basis.extend(many, small.closed):
                if self.by_error:
                    held = self.asked * (1 - recent_rate(trace))
                    small.tolerance = np.where(small.closed, small.tolerance, held)
                small.add(overlaps, rest)
                trace.append(small.residual)
        system.trace += trace[1:]
        self.tolerance = small.tolerance
        self.failed |= small.failed
        y = small.solve()
        self.x = self.x + basis.combine(y)
        self.size = self.size + np.sqrt(np.vecdot(y, y))
        rounding = ROUNDING * torch.finfo(system.dtype).eps
        noise = rounding * (system.norms + small.scale * self.size)
        claims = np.fmax(small.residual, noise)  # the scale of a row that failed may be nan
        self.residual = np.where(self.open, claims, self.residual)
        self.open = self.open & ~small.failed & (self.residual > self.tolerance)
        self.r = None


class _Basis:
    """The orthonormal vectors of one cycle, one after another as (B, D) matrices."""

    def __init__(self, system: _System, r: Array, norms: np.ndarray, length: int) -> None:
        self.apply, self.on_host, self.length = system.apply, system.on_host, length
        self.stride = 1 if self.on_host else CHUNK
        self.vectors = _empty(min(8, length) + 1, r)
        self.vectors[0] = r / _like(norms, r)[:, None]
        self.count = 1
        self.eps = self.loss = system.eps  # loss: |V' V - I|, about

    def extend(self, many: int, idle: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Take this many products; return the columns of H that they are.

        Idle rows are multiplied as zero vectors.
        """
        if idle.any():
            last = self.vectors[self.count - 1]
            self.vectors[self.count - 1] = _where(~idle, last, _zeros_like(last))
        columns = [self._extend_by_one() for _ in range(many)]
        return columns if self.on_host else _to_host(columns)

    def combine(self, y: np.ndarray) -> Array:
        """Return the sum of the vectors with these coefficients, (B, k)."""
        return _mix(self.vectors[: y.shape[1]], _like(y, self.vectors).T)

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
            more = _empty(min(2 * k, self.length + 1), self.vectors[0])
            more[:k] = self.vectors
            self.vectors = more
        basis = self.vectors[:k]
        w = self.apply(basis[k - 1])
        overlaps = _dots(basis, w)
        w = _less(w, _mix(basis, overlaps))
        rest = _row_norms(w)
        # On a device, looking would take longer than doing it.
        if not self.on_host or self._loses(overlaps, rest):
            more = _dots(basis, w)
            w = _less(w, _mix(basis, more))
            overlaps, rest = overlaps + more, _row_norms(w)
        if self.on_host:
            np.divide(w, rest[:, None], out=self.vectors[k])
        else:
            sound = (rest > 0) & (rest < np.inf)
            self.vectors[k] = torch.where(sound[:, None], w / rest[:, None], 0.0)
        self.count += 1
        return overlaps, rest


# What both kinds of array do: those of numpy on the host, of torch on a device.


def _dots(basis: Array, w: Array) -> Array:
    """Return the inner products of w with each vector, (k, B)."""
    if not isinstance(w, np.ndarray):
        return torch.einsum("kbd,bd->kb", basis, w)
    if len(basis) < 8:
        return np.vecdot(basis, w)
    # Rows times columns: a few long inner products are quicker by vecdot, many by BLAS.
    return np.matmul(w[:, None], basis.transpose(1, 2, 0))[:, 0].T


def _mix(basis: Array, weights: Array) -> Array:
    """Return the sum of the vectors with these weights, (k, B)."""
    if not isinstance(basis, np.ndarray):
        return torch.einsum("kbd,kb->bd", basis, weights)
    if len(basis) == 1:  # matmul does not hand it to BLAS
        return basis[0] * weights[0][:, None]
    return np.matmul(weights.T[:, None], basis.swapaxes(0, 1))[:, 0]


def _less(w: Array, part: Array) -> Array:
    """Return w - part, in the memory of the second."""
    if isinstance(w, np.ndarray):
        return np.subtract(w, part, out=part)
    return w - part


def _row_norms(w: Array) -> Array:
    if isinstance(w, np.ndarray):
        return np.sqrt(np.vecdot(w, w))
    return torch.linalg.vector_norm(w, dim=1)


def _norms(matrix: Array) -> np.ndarray:
    """Return the norm of each row, on the host, also where squares overflow or vanish."""
    if not isinstance(matrix, np.ndarray):
        return np.asarray(torch.linalg.vector_norm(matrix.double(), dim=1).cpu().numpy())
    squares = np.vecdot(matrix, matrix)
    if not (squares.min(initial=1.0) > 1e-30 and squares.max(initial=1.0) < 1e36):
        scale = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float64)
        scale[scale == 0] = 1.0
        scaled = matrix / scale[:, None]
        return np.asarray(scale * np.sqrt(np.vecdot(scaled, scaled)))
    norms: np.ndarray = np.sqrt(squares, dtype=np.float64)
    return norms


def _where(rows: np.ndarray, yes: Array, no: Array) -> Array:
    if rows.all():
        return yes
    if isinstance(yes, np.ndarray):
        return np.where(rows[:, None], yes, no)
    return torch.where(torch.from_numpy(rows).to(yes.device)[:, None], yes, no)


def _zeros_like(matrix: Array) -> Array:
    return np.zeros_like(matrix) if isinstance(matrix, np.ndarray) else torch.zeros_like(matrix)


def _like(numbers: np.ndarray, matrix: Array) -> Array:
    """Return numbers of the host as the kind of array that `matrix` is."""
    if isinstance(matrix, np.ndarray):
        return numbers.astype(matrix.dtype)
    return torch.from_numpy(numbers).to(matrix)


def _empty(count: int, matrix: Array) -> Array:
    shape = (count, *matrix.shape)
    if isinstance(matrix, np.ndarray):
        return np.empty(shape, dtype=matrix.dtype)
    return matrix.new_empty(shape)


def _to_host(columns: list[tuple[Tensor, Tensor]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same columns on the host, by one transfer."""
    parts = [torch.cat([overlaps, rest[None]]) for overlaps, rest in columns]
    whole = torch.cat(parts).cpu().numpy()
    pieces = np.split(whole, np.cumsum([len(part) for part in parts])[:-1])
    return [(piece[:-1], piece[-1]) for piece in pieces]
