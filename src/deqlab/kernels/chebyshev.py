"""Kernels of pairs by interpolation, where each entry costs thousands of evaluations of phi.

A kernel of a pair is an analytic function of r = |x|, r' = |y| and the angle theta between them,
at theta = 0 and pi too: what is singular in the cosine there (arc-cosine kernels, for one) is not
in the angle. So a product of Chebyshev polynomials in the three converges geometrically,

    k(r, r', theta) = sum_kij C_kij T_k(theta) T_i(r) T_j(r'),

and is found from its values at a few thousand points, however many entries the matrix has. A
kernel that is 0 where a sample is 0 is r r' times such a sum, so that small samples keep their
digits beside large ones. Source of the rule for the degrees: Trefethen (2013), "Approximation
Theory and Approximation Practice", ch. 4 and 8.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.kernels.pairs import PairFunction

DEGREES = (1, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Numbers of points that are tried in one variable."""

TAIL = 1e-12
"""Coefficients below this share of the largest are noise: of quadratures and fixed points."""

ACCURACY = 1e-10
"""The share of sqrt(k(x, x) k(y, y)) that the interpolant may be off at samples it was not made
from."""

NEAR = 1e-3
"""The share of the largest norm that stands for a norm of 0 where a kernel is divided by norms."""


@dataclass(frozen=True)
class Interpolant:
    """A kernel of pairs, as a PairFunction.

    Attributes:
        low: The least norm.
        high: The largest.
        coefficients: C, one matrix in (i, j) for each k.
        vanishes: Whether the kernel is r r' times the sum.
    """

    low: float
    high: float
    coefficients: Float[Tensor, "K I I"]
    vanishes: bool

    def __call__(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return the kernel for squared norms a and b, and inner products c.

        a is (n, 1); b is (1, m) for all pairs with c (n, m), or (n, 1) for pairs row by row with
        c (n, K).
        """
        left, right = self._powers(a.flatten()), self._powers(b.flatten())

        def weight(matrix: Tensor) -> Tensor:
            """Return the coefficient of one power of the angle, for each pair of norms."""
            if b.shape[0] == 1:
                return (left @ matrix) @ right.T
            return ((left @ matrix) * right).sum(dim=1, keepdim=True)

        t = _angle(a, b, c).mul_(2 / math.pi).sub_(1)
        # Clenshaw's recurrence, from the highest degree down.
        last = before = torch.zeros_like(t)
        for matrix in self.coefficients.flip(0)[:-1]:
            last, before = torch.sub(weight(matrix), before).addcmul_(t, last, value=2), last
        return torch.sub(weight(self.coefficients[0]), before).addcmul_(t, last)

    def _powers(self, squares: Float[Tensor, " n"]) -> Float[Tensor, "n I"]:
        """Return the polynomials in the norms, times the norms where the kernel vanishes."""
        norms = squares.sqrt()
        scaled = torch.zeros_like(norms)
        if self.high > self.low:
            scaled = (2 * norms - (self.low + self.high)) / (self.high - self.low)
        powers = _powers(scaled, self.coefficients.shape[1])
        return powers * norms[:, None] if self.vanishes else powers


def interpolated(function: PairFunction, squares: Tensor, *, vanishes: bool) -> PairFunction:
    """Return an interpolant of a kernel for data of these squared norms.

    Where no such polynomial is right for them all, the kernel itself is returned.

    Args:
        function: The kernel. It is called with columns of squared norms a and b, (N, 1), and rows
            of inner products c, (N, K).
        squares: |x|^2 of all data.
        vanishes: Whether the kernel is 0 where one of the samples is.
    """
    low, high = float(squares.min().sqrt()), float(squares.max().sqrt())
    if high - low <= 1e-12 * high:  # rounding
        low = high
    vanishes = vanishes and high > 0
    first = max(low, NEAR * high) if vanishes else low

    def radii(count: int) -> Tensor:
        return (low + high) / 2 + (high - low) / 2 * _points(count)

    def at(r: Tensor, other: Tensor, theta: Tensor) -> Tensor:
        """Return what is a polynomial at (N,), (N,) and (K,): (N, K)."""
        values = _values(function, r, other, theta)
        return values / (r * other)[:, None] if vanishes else values

    def over_angles(count: int) -> Tensor:
        r = torch.tensor([first, first, high, high], dtype=torch.float64)
        other = torch.tensor([first, high, first, high], dtype=torch.float64)
        return at(r, other, _angles(count)).T

    def over_radii(count: int) -> Tensor:
        r = radii(count)
        ends = [at(r, torch.full_like(r, end), _angles(9)) for end in (first, high)]
        return torch.cat(ends, dim=1)

    angles = _enough(over_angles)
    norms = 1 if high == low else _enough(over_radii)
    if angles is None or norms is None:
        return function
    i, j = torch.triu_indices(norms, norms)
    r = radii(norms)
    upper = at(r[i], r[j], _angles(angles))  # (pairs, K)
    values = upper.new_empty(norms, norms, angles)
    values[i, j] = upper
    values[j, i] = upper
    to_norms, to_angles = _transform(norms), _transform(angles)
    coefficients = to_norms @ (values @ to_angles.T).permute(2, 0, 1) @ to_norms.T
    found = Interpolant(low, high, coefficients, vanishes)
    return found if _is_right(found, function, squares) else function


def _enough(values: Callable[[int], Tensor]) -> int | None:
    """Return how many points resolve a function of one variable; `values` has them as rows."""
    for count in DEGREES[1:]:
        sizes = (_transform(count) @ values(count)).abs().amax(dim=1)
        scale = TAIL * sizes.max()
        if bool((sizes[-3:] <= scale).all()):
            return int((sizes > scale).nonzero().max()) + 1 if bool(scale > 0) else 1
    return None


def _is_right(found: Interpolant, function: PairFunction, squares: Tensor) -> bool:
    """Compare at norms of the data, the least and the largest among them, and other angles."""
    norms = (squares[squares > 0] if found.vanishes else squares).sqrt().unique()
    norms = norms[torch.linspace(0, len(norms) - 1, 4).round().long().unique()]
    rng = torch.Generator().manual_seed(0)
    theta = torch.cat([torch.tensor([0.0, 1e-3, math.pi]), torch.rand(5, generator=rng) * math.pi])
    theta = theta.to(torch.float64)
    sizes = _values(function, norms, norms, theta[:1])[:, 0].sqrt()
    i, j = torch.triu_indices(len(norms), len(norms))
    gaps = _values(found, norms[i], norms[j], theta) - _values(function, norms[i], norms[j], theta)
    return bool((gaps.abs() <= ACCURACY * (sizes[i] * sizes[j])[:, None]).all())


def _values(function: PairFunction, r: Tensor, other: Tensor, theta: Tensor) -> Tensor:
    """Return a kernel at norms (N,), (N,) and angles (K,): (N, K)."""
    r, other = r[:, None], other[:, None]
    return function(r * r, other * other, r * other * torch.cos(theta))


def _angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the angle between two vectors; a right one if either is zero."""
    size = torch.where(a == b, a, torch.sqrt(a) * torch.sqrt(b))  # sqrt(a)^2 is not quite a
    sine = torch.sqrt((size - c).clamp_(min=0) * (size + c).clamp_(min=0))
    return torch.where(size > 0, torch.atan2(sine, c), math.pi / 2)


def _points(count: int) -> Tensor:
    """Return Chebyshev points of the first kind in (-1, 1)."""
    return -torch.cos((torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count))


def _angles(count: int) -> Tensor:
    return (_points(count) + 1) * (math.pi / 2)


def _powers(t: Float[Tensor, " n"], count: int) -> Float[Tensor, "n K"]:
    """Return T_0(t), ..., T_(K-1)(t)."""
    steps = torch.arange(count, dtype=torch.float64)
    return torch.cos(steps * torch.acos(t.clamp(-1, 1))[:, None])


def _transform(count: int) -> Float[Tensor, "K K"]:
    """Return the matrix from values at the points to coefficients."""
    matrix = _powers(_points(count), count).T * (2 / count)
    matrix[0] /= 2
    return matrix
