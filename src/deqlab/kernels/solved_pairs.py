"""The fixed point that is the CK of a DEQ, entry by entry.

The entries of G on the diagonal are fixed points of their own; an entry off it depends on two of
them and on x'y:

    G_ij = E[phi(u_i) phi(u_j)],    (u_i, u_j) ~ N(0, S_[ij]),    S = s_a G + s_b X'X
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from deqlab.activations import Activation
from deqlab.errors import report_failure
from deqlab.kernels.chebyshev import Tabulated
from deqlab.kernels.pairs import clamped
from deqlab.solvers import Anderson

Dual: TypeAlias = Activation | Tabulated
"""Knows the duals of an activation."""

SOLVER = Anderson(rtol=1e-13, max_steps=500, memory=3)


@dataclass(frozen=True)
class SolvedPairs:
    """The kernels of many pairs of points.

    Attributes:
        phi: The activation.
        sigma_a2: s_a.
        inner: x'y.
        preactivation: S at (x, x), (y, y) and (x, y).
        conjugate: G at (x, y).
    """

    phi: Dual
    sigma_a2: float
    inner: Tensor
    preactivation: tuple[Tensor, Tensor, Tensor]
    conjugate: Tensor

    @classmethod
    def solve(
        cls,
        phi: Dual,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        *,
        sigma_a2: float,
        sigma_b2: float,
    ) -> "SolvedPairs":
        """Solve for pairs of squared norms a and b, and inner products c, which broadcast."""
        s_a, s_b = sigma_a2, sigma_b2
        s_aa = preactivation(phi, a, sigma_a2=s_a, sigma_b2=s_b)
        s_bb = preactivation(phi, b, sigma_a2=s_a, sigma_b2=s_b)
        # Two samples that are one have one variance, to the last digit: slopes of kinked
        # activations turn a rounding error into its root.
        same = (a == b) & (c == a)

        def covariance(g: Tensor) -> Tensor:
            # An accelerated step may leave what a covariance can be.
            return torch.where(same, s_aa, clamped(s_a * g + s_b * c, s_aa, s_bb))

        g = _fixed_point(lambda g: phi.dual(s_aa, s_bb, covariance(g)), c)
        return cls(phi, s_a, c, (s_aa, s_bb, covariance(g)), g)

    def tangent(self, input_weight: float) -> Tensor:
        """Return (G + input_weight D c) / (1 - s_a D)."""
        d = self.phi.dual_derivative(*self.preactivation)
        rest = 1 - self.sigma_a2 * d
        if not bool((rest > 0).all()):
            raise ValueError(
                f"the NTK diverges: sigma_a2 E[phi'(u)^2] reaches {float(1 - rest.min()):.3g} on "
                "these data, and must stay below 1; take a smaller sigma_a2"
            )
        return (self.conjugate + input_weight * d * self.inner) / rest


def preactivation(phi: Dual, squares: Tensor, *, sigma_a2: float, sigma_b2: float) -> Tensor:
    """Return S on the diagonal, for points of these squared norms: (n, 1) or (1, n)."""
    distinct, places = squares.unique(return_inverse=True)
    column = distinct[:, None]

    def f(g: Tensor) -> Tensor:
        s = sigma_a2 * g + sigma_b2 * column
        return phi.dual(s, s, s)

    variances: Tensor = sigma_a2 * _fixed_point(f, column) + sigma_b2 * column
    return variances[places, 0]


def _fixed_point(f: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return g = f(g), entry by entry, from 0."""
    shape = f(torch.zeros_like(like)).shape
    start = torch.zeros(shape, dtype=torch.float64)
    solution = SOLVER.solve(f, start)
    report_failure(solution, what="fixed point of the kernel", on_failure="raise")
    return solution.matrix
