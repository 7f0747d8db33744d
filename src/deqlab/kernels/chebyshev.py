"""Kernels of pairs by interpolation, where each entry costs thousands of evaluations of phi.

A kernel of a pair is an analytic function of r = |x|, r' = |y| and the angle theta between them,
at theta = 0 and pi too: what is singular in the cosine there (arc-cosine kernels, for one) is not
in the angle. So a product of Chebyshev polynomials in the three converges geometrically,

    k(r, r', theta) = sum_kij C_kij T_k(theta) T_i(r) T_j(r'),

and is found from its values at a few thousand points, however many entries the matrix has. Source
of the rule for the degrees: Trefethen (2013), "Approximation Theory and Approximation Practice",
ch. 4 and 8.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.activations import Activation
from deqlab.kernels.pairs import PairFunction

DEGREES = (1, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Numbers of points that are tried in one variable."""

TAIL = 1e-12
"""Coefficients below this share of the largest are noise: of quadratures and fixed points."""

ACCURACY = 1e-10
"""Of the largest value: what the interpolant may be off at points that it was not made from."""


@dataclass(frozen=True)
class Interpolant:
    """A kernel of pairs, as a PairFunction.

    Attributes:
        low: The least norm.
        high: The largest.
        coefficients: C, one matrix in (i, j) for each k.
    """

    low: float
    high: float
    coefficients: Float[Tensor, "K I I"]

    def __call__(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return the kernel for squared norms a and b, and inner products c.

        a is (n, 1); b is (1, m) for all pairs with c (n, m), or (n, 1) for pairs row by row with
        c (n, K).
        """
        left = _powers(self._scaled(a.flatten()), self.coefficients.shape[1])
        right = _powers(self._scaled(b.flatten()), self.coefficients.shape[2])

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

    def _scaled(self, squares: Tensor) -> Tensor:
        if self.high == self.low:
            return torch.zeros_like(squares)
        return (2 * squares.sqrt() - (self.low + self.high)) / (self.high - self.low)


def duals_are_smooth(phi: Activation) -> bool:
    """Return whether the duals of phi are analytic in the two deviations and the angle.

    A kink k away from 0 is met by u and v at k / |u| and k / |v|. Where these differ by little,
    so does the dual change over a small angle: it is not analytic where both vanish.
    """
    return not any(phi.kinks)


def kernels_are_smooth(phi: Activation) -> bool:
    """Return whether kernels made of several such duals are analytic, too.

    What is near a kink at 0 in one dual depends on the angle and on the difference of norms in
    the next: u and v no longer share their direction where x and y do.
    """
    return not phi.kinks


def tabulated(phi: Activation, variances: Tensor) -> "Activation | Tabulated":
    """Return phi with its duals from tables, where it needs them and can have them.

    Args:
        phi: The activation.
        variances: Of its arguments; those between the least and the largest are in the tables.
    """
    if phi.closed_form or not duals_are_smooth(phi):
        return phi
    return Tabulated(phi, variances)


@dataclass(frozen=True, eq=False)
class Tabulated:
    """An activation for arguments of variances in a range, by interpolation.

    Attributes:
        phi: The activation.
        variances: Their least and their largest.
    """

    phi: Activation
    variances: Tensor

    def dual(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return E[phi(u) phi(v)]; shapes as in `Interpolant`."""
        return self._duals(a, b, c)

    def dual_derivative(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return E[phi'(u) phi'(v)], likewise."""
        return self._slopes(a, b, c)

    @cached_property
    def _duals(self) -> Interpolant:
        return interpolated(self.phi.dual, self.variances)

    @cached_property
    def _slopes(self) -> Interpolant:
        return interpolated(self.phi.dual_derivative, self.variances)


def interpolated(function: PairFunction, squares: Tensor) -> Interpolant:
    """Return an interpolant of a kernel for data of these squared norms.

    Args:
        function: It is called with columns of squared norms a and b, (N, 1), and rows of inner
            products c, (N, K).
        squares: |x|^2 of all data.

    Raises:
        RuntimeError: The kernel is not smooth enough to be interpolated.
    """
    low, high = float(squares.min().sqrt()), float(squares.max().sqrt())
    if high - low <= 1e-12 * high:  # rounding
        low = high

    def radii(count: int) -> Tensor:
        return (low + high) / 2 + (high - low) / 2 * _points(count)

    def at(r: Tensor, other: Tensor, theta: Tensor) -> Tensor:
        """Return the kernel at (N,), (N,) and (K,): (N, K)."""
        r, other = r[:, None], other[:, None]
        return function(r * r, other * other, r * other * torch.cos(theta))

    def over_angles(count: int) -> Tensor:
        r = torch.tensor([low, low, high, high], dtype=torch.float64)
        other = torch.tensor([low, high, low, high], dtype=torch.float64)
        return at(r, other, _angles(count)).T

    def over_radii(count: int) -> Tensor:
        r = radii(count)
        ends = [at(r, torch.full_like(r, end), _angles(9)) for end in (low, high)]
        return torch.cat(ends, dim=1)

    angles = _enough(over_angles, "the angle between two samples")
    norms = 1 if high == low else _enough(over_radii, "the norm of a sample")
    i, j = torch.triu_indices(norms, norms)
    r = radii(norms)
    upper = at(r[i], r[j], _angles(angles))  # (pairs, K)
    values = upper.new_empty(norms, norms, angles)
    values[i, j] = upper
    values[j, i] = upper
    to_norms, to_angles = _transform(norms), _transform(angles)
    coefficients = to_norms @ (values @ to_angles.T).permute(2, 0, 1) @ to_norms.T
    found = Interpolant(low, high, coefficients)
    _check(found, at)
    return found


def _enough(values: Callable[[int], Tensor], variable: str) -> int:
    """Return how many points resolve a function of one variable; `values` has them as rows."""
    for count in DEGREES[1:]:
        sizes = (_transform(count) @ values(count)).abs().amax(dim=1)
        scale = TAIL * sizes.max()
        if bool((sizes[-3:] <= scale).all()):
            return int((sizes > scale).nonzero().max()) + 1 if bool(scale > 0) else 1
    raise RuntimeError(
        f"{DEGREES[-1]} points do not resolve the kernel as a function of {variable}; the "
        "activation is too steep for data of these norms"
    )


def _check(found: Interpolant, at: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Compare at points that were not used.

    Raises:
        RuntimeError: They differ.
    """
    rng = torch.Generator().manual_seed(0)
    r, other = found.low + (found.high - found.low) * torch.rand(
        2, 6, generator=rng, dtype=torch.float64
    )
    theta = torch.cat([torch.tensor([0.0, 1e-3, math.pi]), torch.rand(7, generator=rng) * math.pi])
    theta = theta.to(torch.float64)
    exact = at(r, other, theta)
    inner = (r * other)[:, None] * torch.cos(theta)
    rows = [
        found(a.view(1, 1) ** 2, (b**2).expand(1, len(row)), row[None])
        for a, b, row in zip(r, other, inner, strict=True)
    ]
    error = float((torch.cat(rows) - exact).abs().max() / exact.abs().max())
    if not error <= ACCURACY:
        raise RuntimeError(
            f"the interpolated kernel is off by {error:.1e} of its largest entry, more than the "
            f"{ACCURACY:g} allowed; please report the activation"
        )


def _angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the angle between two vectors; a right one if either is zero."""
    size = torch.sqrt(a) * torch.sqrt(b)
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
