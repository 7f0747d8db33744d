"""Restarted GMRES for (I - A) x = b, one system per row, matrix-free.

After k products A v the iterate of each row is the x of least residual in its Krylov space:

    x_k = argmin |b - (I - A) x|    over x in x_0 + span{r_0, A r_0, ..., A^(k-1) r_0}.

Source: Saad & Schultz (1986), "GMRES: a generalized minimal residual algorithm for solving
nonsymmetric linear systems", SIAM J. Sci. Stat. Comput. 7(3). From x_0 = 0 the space holds every
partial sum b + A b + A^2 b + ... of the Neumann series, so that no k products do better.

With V the orthonormal basis of `arnoldi` and A V_k = V_{k+1} H, this is a problem of k unknowns per
row that `least_squares` solves on the host.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.linalg.arnoldi import Basis
from deqlab.linalg.arrays import Array, choose, same_kind, zeros_like
from deqlab.linalg.gmres_start import Asked, Start, started
from deqlab.linalg.least_squares import LeastSquares
from deqlab.linalg.linear_system import LinearSystem
from deqlab.linalg.norms import norms
from deqlab.linalg.products import Product
from deqlab.linalg.rates import recent_rate

ROUNDING = 2.0
"""In units of eps (|b| + |I - A| |x|): a residual that the recurrence puts below it is rounding
until a product has confirmed it."""

STALLED = 0.999
"""A restart that leaves more than this share of the residual ends its row."""

FIRST, SLOW, LARGEST = 30, 0.1, 2**27
"""How a basis grows: its first length, the share of a residual that a cycle may leave before it
does, and the most numbers in it."""


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
        size: |b|.
        told: `also`, on the host.
        products: Calls of `product`.
        trace: The residual of every row after each product; a row that has ended stands still.
    """

    x: Float[Tensor, "B D"]
    residual: Float[np.ndarray, " B"]
    tolerance: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    failed: Bool[np.ndarray, " B"]
    size: Float[np.ndarray, " B"]
    told: Bool[np.ndarray, " B"] | None
    products: int
    trace: Float[np.ndarray, "T B"]


def gmres(
    product: Product,
    b: Float[Tensor, "B D"],
    *,
    tolerance: Float[Array, " B"],
    by_error: bool = False,
    max_products: int,
    x0: Float[Tensor, "B D"] | None = None,
    rescaled: bool = False,
    image: Float[Tensor, "B D"] | None = None,
    restart: int | None = None,
    running: Bool[Array, " B"] | None = None,
    needed: Bool[Array, " B"] | None = None,
    also: Bool[Array, " B"] | None = None,
) -> GmresResult:
    """Solve x = A x + b, row by row, each to its own tolerance.

    A row ends when its residual is within the tolerance, when a whole cycle brought it nothing,
    or when a product is not finite; it is then multiplied as a zero vector, and the other rows do
    not feel it. Nothing is recorded on a tape.

    The host waits for a device once in `arnoldi.CHUNK` products, the first time after as many: what
    is asked for each row may be on the device as well.

    Args:
        product: v -> A v for all rows at once, in the dtype of b; row i of it must depend on row
            i alone. It is called with vectors of norm 1, or 0.
        b: The right-hand sides. In half precision, all but the products is done in float32.
        tolerance: What |b - (I - A) x| may be, 0 or more; absolute.
        by_error: Hold |b - (I - A) x| / (1 - rho) to the tolerance instead, with rho the rate at
            which it fell lately. Relative to |b| this estimates the relative error of x: within a
            factor of about two on the workloads of `benchmarks`. Where I - A is nearly singular
            in a direction that the Krylov space has met, that counts as well; see `least_squares`.
        max_products: Calls of `product` at most, 1 or more.
        x0: Where to start, at the price of one product; None for 0.
        rescaled: Start at the multiple of x0 whose residual is least, row by row. It is |b| at
            most, whatever x0 is: that of a system which has changed, or nothing but nan.
        image: A b, if it is known: without x0 this is the first product, which is then not taken.
        restart: Products in one cycle, 1 or more. Memory: restart + 3 states at most, allocated
            as they are needed. None takes 30, and after a cycle that did not make the
            residual ten times smaller as many as a basis of 2^27 numbers has room for: where the
            eigenvalues of A lie around a circle, as those of rotations do, no short basis will do.
        running: Rows to solve; the others keep their start. None for all.
        needed: Rows whose end is waited for; the others get only the products that these take.
            None for all.
        also: What else the host wants to know of rows on a device, by the look that is taken
            anyway.

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
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    with torch.no_grad(), np.errstate(all="ignore"):  # rows that are not finite are looked for
        system = LinearSystem(product, b, max_products, image if x0 is None else None)
        asked = Asked(tolerance, running, needed, also)
        dim = max(1, b.shape[1])
        length = min(FIRST, dim) if restart is None else min(restart, dim)
        start = started(system, x0, asked, length=length, best=rescaled)
        rows = _Rows(system, start, by_error=by_error)
        rows.solve(length, grows=restart is None)
    return GmresResult(
        x=system.tensor(rows.x),
        residual=rows.residual,
        tolerance=rows.tolerance,
        converged=rows.residual <= rows.tolerance,
        failed=rows.failed,
        size=system.norms,
        told=start.asked.also,
        products=system.products,
        trace=np.array(system.trace).reshape(len(system.trace), len(b)),
    )


class _Rows:
    """Where each row stands, and which of them are open: neither solved nor given up."""

    def __init__(self, system: LinearSystem, start: Start, *, by_error: bool) -> None:
        self.system, self.start, self.by_error = system, start, by_error
        asked = start.asked
        self.asked = self.tolerance = asked.tolerance
        every = np.ones(len(self.asked), dtype=bool)
        self.needed = every if asked.needed is None else asked.needed
        self.failed = ~every
        self.size, self.residual = start.size, start.residual  # |x| at most, and |r|
        self.r: Array | None = start.r  # None where only its norm is known
        finite = np.isfinite(self.residual)
        self.x = self._where(finite, start.x, zeros_like(start.x))
        self.open = finite & (self.residual > self.tolerance)
        if asked.running is not None:
            self.open &= asked.running

    def solve(self, length: int, *, grows: bool) -> None:
        """Run cycles of so many products, or, if that grows, of as many as are needed."""
        dim = max(1, self.system.b.shape[1])
        longest = min(dim, max(FIRST, LARGEST // max(1, self.system.b.shape[0] * dim)))
        begun = bool(self.start.columns)
        while (self.open & self.needed).any() and (self.system.left or begun):
            if self.r is not None:
                self._cycle(self.r, length, begun=begun)
                begun = False
                continue
            longer = grows and length < longest and self._is_slow()
            length = longest if longer else length
            self._restart(give_up=not longer)

    def _is_slow(self) -> bool:
        """Return whether the last cycle left too much of a residual that is waited for."""
        return bool((self.open & self.needed & (self.residual > SLOW * self.before)).any())

    def _where(self, rows: np.ndarray, yes: Array, no: Array) -> Array:
        return yes if rows.all() else choose(same_kind(rows, yes), yes, no)

    def _restart(self, *, give_up: bool) -> None:
        """Measure the open rows, and give up those that the last cycle brought nothing."""
        self.r = self.system.residual(self.x)
        measured = norms(self.r)
        worse = self.open & ~(measured <= self.before)  # true for nan
        if worse.any():
            self.x = self._where(worse, self.x_before, self.x)
            if not give_up:  # else these rows are closed
                self.r = self.system.residual(self.x)
        measured = np.where(worse, self.before, measured)
        self.residual = np.where(self.open, measured, self.residual)
        self.system.trace.append(self.residual)
        self.open &= measured > self.tolerance
        if give_up:
            self.open &= measured <= STALLED * self.before

    def _cycle(self, r: Array, length: int, *, begun: bool) -> None:
        """Minimise the residual over one Krylov space, which may have begun."""
        system = self.system
        self.x_before, self.before = self.x, self.residual
        basis, columns = self.start.basis, self.start.columns if begun else ()
        if basis is None or not begun:
            basis = Basis(system.apply, r, self.residual, length=length, eps=system.eps)
        trace = [self.residual]
        small = LeastSquares(
            self.residual,
            self.tolerance.copy(),
            self.open,
            system.eps,
            accuracy=self.asked / system.norms if self.by_error else None,
            size=self.size,
        )
        while (self.needed & ~small.closed).any() and small.count < length:
            many = min(basis.stride, system.left, length - small.count)
            if not columns and not many:
                break
            for overlaps, rest in columns or basis.extend(many, small.closed):
                if self.by_error:
                    held = self.asked * (1 - recent_rate(trace))
                    small.tolerance = np.where(small.closed, small.tolerance, held)
                small.add(overlaps, rest)
                trace.append(small.residual)
            columns = ()
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
