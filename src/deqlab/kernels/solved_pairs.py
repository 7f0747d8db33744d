"""The fixed point that is the CK of a DEQ, entry by entry.

The entries of G on the diagonal are fixed points of their own; an entry off it depends on two of
them and on x'y:

    G_ij = E[phi(u_i) phi(u_j)],    (u_i, u_j) ~ N(0, S_[ij]),    S = s_a G + s_b X'X

What is solved for has no units: G_ii / E[phi(sqrt(s_b) |x_i| xi)^2], and the cosines
G_ij / sqrt(G_ii G_jj). So a tolerance means the same for rows of any size, also side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.activations.base import Activation
from deqlab.failures import report_failure
from deqlab.kernels.chebyshev import interpolated
from deqlab.kernels.kinds import Kind, Trained, check_kind, check_trained
from deqlab.kernels.pairs import PairFunction, clamped
from deqlab.kernels.tables import (
    Tabulated,
    duals_are_smooth,
    kernels_are_smooth,
    tabulated,
    vanishes,
)
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson

Dual: TypeAlias = Activation | Tabulated
"""Knows the duals of an activation."""

SOLVER = Anderson(rtol=1e-13, atol=1e-13, max_steps=500, memory=3)
"""For unknowns without units, of about 1 or below."""

GROWTH = 10.0
"""What is found so many times its unit is looked for again, in a larger one."""


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
        g_aa, s_aa = diagonal(phi, a, sigma_a2=s_a, sigma_b2=s_b)
        g_bb, s_bb = diagonal(phi, b, sigma_a2=s_a, sigma_b2=s_b)
        size = g_aa.sqrt() * g_bb.sqrt()
        unit = torch.where(size > 0, size, 1.0)
        # Two samples that are one have one variance, to the last digit: slopes of kinked
        # activations turn a rounding error into its root.
        same = (a == b) & (c == a)

        def covariance(cosine: Tensor) -> Tensor:
            # An accelerated step may leave what a covariance can be.
            return torch.where(same, s_aa, clamped(s_a * size * cosine + s_b * c, s_aa, s_bb))

        cosine = _fixed_point(lambda cosine: phi.dual(s_aa, s_bb, covariance(cosine)) / unit, c)
        return cls(phi, s_a, c, (s_aa, s_bb, covariance(cosine)), size * cosine)

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


def pair_function(
    phi: Activation,
    squares: Float[Tensor, " n"],
    *,
    sigma_a2: float,
    sigma_b2: float,
    kind: Kind,
    trained: Trained | None,
) -> PairFunction:
    """Return the CK or the NTK of pairs, for data of these squared norms.

    The fixed point asks for each dual a dozen times: where that is dear it has them from a table,
    and what it finds becomes a table too.
    """
    check_kind(kind)
    if kind == "tangent":
        check_trained(trained)
    variances = {"sigma_a2": sigma_a2, "sigma_b2": sigma_b2}
    input_weight = sigma_b2 if trained == "all" else 0.0

    def function_of(dual: Dual) -> PairFunction:
        def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            pairs = SolvedPairs.solve(dual, a, b, c, **variances)
            return pairs.conjugate if kind == "conjugate" else pairs.tangent(input_weight)

        return function

    if phi.closed_form or not duals_are_smooth(phi):
        return function_of(phi)
    # S grows with the norm: its derivative is s_b / (1 - s_a dG/dS), where the kernel is stable.
    ends = torch.stack([squares.min(), squares.max()])[:, None]
    _, s = diagonal(phi, ends, **variances)
    function = function_of(tabulated(phi, s.flatten()))
    if kernels_are_smooth(phi):
        return interpolated(function, squares, vanishes=vanishes(phi))
    return function


def diagonal(
    phi: Dual, squares: Tensor, *, sigma_a2: float, sigma_b2: float
) -> tuple[Tensor, Tensor]:
    """Return G and S on the diagonal, for points of these squared norms: (n, 1) or (1, n)."""
    distinct, places = squares.unique(return_inverse=True)
    column = distinct[:, None]
    first = phi.dual(sigma_b2 * column, sigma_b2 * column, sigma_b2 * column)
    unit = torch.where(first > 0, first, 1.0)

    def f(g: Tensor) -> Tensor:
        # An accelerated step may leave what a variance can be.
        s = sigma_a2 * g.clamp(min=0) + sigma_b2 * column
        return phi.dual(s, s, s)

    g, solution = solved_in_units(f, unit)
    _raise_unless_converged(solution)
    return g[places, 0], (sigma_a2 * g + sigma_b2 * column)[places, 0]


def solved_in_units(
    f: Callable[[Tensor], Tensor], unit: Float[Tensor, "n 1"]
) -> tuple[Float[Tensor, "n 1"], Solution]:
    """Return g = f(g), row by row from 0, and the solve of g / unit; f must not vanish there.

    A solver's tolerance does not grow with what outgrows its start tenfold, as g does where the
    recurrent weights nearly reach their limit: then it starts again, in units of what it found.
    """
    solution = SOLVER.solve(lambda z: f(unit * z) / unit, torch.zeros_like(unit))
    if bool((solution.matrix > GROWTH).any()):
        unit = unit * solution.matrix.clamp(min=1)
        again = solution.matrix / solution.matrix.clamp(min=1)
        solution = SOLVER.solve(lambda z: f(unit * z) / unit, again)
    return unit * solution.matrix, solution


def _raise_unless_converged(solution: Solution) -> None:
    report_failure(solution, what="fixed point of the kernel", on_failure="raise")


def _fixed_point(f: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return g = f(g), entry by entry, from 0."""
    shape = f(torch.zeros_like(like)).shape
    start = torch.zeros(shape, dtype=torch.float64)
    solution = SOLVER.solve(f, start)
    _raise_unless_converged(solution)
    return solution.matrix
