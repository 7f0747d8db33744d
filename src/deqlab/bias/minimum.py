"""The limit of a gradient flow, predicted: the closest fit in Bregman divergence.

    minimise D_Q(beta, start)    subject to    X beta = y

Q is strictly convex, so that the Karush-Kuhn-Tucker conditions are sufficient, and beta is unique:

    Q'(beta) - Q'(start) = X' lambda,    X beta = y.

They are solved by Newton's method from an infeasible start, with a line search on their residual
that keeps beta in the domain (Boyd & Vandenberghe 2004, Convex Optimization, 10.3).

The flow has this limit whenever some beta inside the domain of Q fits the data (derived). Its dual
path lambda(t) is the gradient flow of the convex function sum_i Q*(Q'(start) + X' lambda) - y'
lambda, which is bounded below exactly then, and whose gradient grows without bound towards the
edge of its domain, so that no coefficient becomes infinite on the way.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from deqlab.bias.flow import check_data
from deqlab.bias.potentials import Coefficients, Potential

_STEPS = 5000
_SHORTEST = 1e-14  # part of a Newton step
_ROUNDING = 1e-12  # of a residual relative to the size of what it is the difference of


class NoFitError(ValueError):
    """No coefficients in the domain of a potential fit the data, or none were found."""


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """The closest fit.

    Attributes:
        coefficients: beta.
        multipliers: lambda.
    """

    coefficients: Coefficients
    multipliers: Float[np.ndarray, " m"]


def closest_fit(
    potential: Potential,
    start: Coefficients,
    x: Float[np.ndarray, "m n"],
    y: Float[np.ndarray, " m"],
) -> Minimum:
    """Return the coefficients that fit the data and are closest to `start`.

    Args:
        potential: Q.
        start: Coefficients at the start of the flow, in the domain of Q.
        x: Inputs of full row rank, m <= n; float64.
        y: Targets.

    Raises:
        ValueError: `start` is outside the domain of Q, or x has dependent rows.
        NoFitError: Nothing in the domain of Q fits the data, or Newton's method does not find it.
    """
    check_data(x, y, num_features=len(start))
    potential.check(start, name="start")
    if np.linalg.matrix_rank(x) < len(x):
        raise ValueError(
            f"x must have independent rows, its {len(x)} have rank {np.linalg.matrix_rank(x)}; "
            "drop samples that repeat others"
        )
    if potential.positive:
        _check_positive_fit(x, y)
    beta, multipliers = start.copy(), np.zeros(len(y))
    for _ in range(_STEPS):
        residual = _residual(potential, start, x, y, beta, multipliers)
        step = _newton(potential.curvature(beta), x, residual)
        length = 1.0
        while length > _SHORTEST:
            trial = beta + length * step[0], multipliers + length * step[1]
            if not potential.positive or (trial[0] > 0).all():
                left = np.linalg.norm(_residual(potential, start, x, y, *trial))
                if left <= (1 - 0.1 * length) * np.linalg.norm(residual):
                    break
            length /= 2
        if length <= _SHORTEST:  # nothing but rounding is left
            break
        beta, multipliers = trial
    scale = np.linalg.norm(potential.slope(beta)) + np.linalg.norm(y) + np.linalg.norm(start)
    if np.linalg.norm(residual) > 1e3 * _ROUNDING * scale:
        raise NoFitError(
            f"Newton's method left a residual of {np.linalg.norm(residual):.1e} at numbers of size "
            f"{scale:.1e} after at most {_STEPS} steps: the start is too far from any fit, as "
            "coefficients of 0.03 and fits of 1 are for InverseSquare; gradient_flow finds the "
            "limit still"
        )
    return Minimum(coefficients=beta, multipliers=multipliers)


def kkt_residual(
    potential: Potential,
    start: Coefficients,
    x: Float[np.ndarray, "m n"],
    y: Float[np.ndarray, " m"],
    beta: Coefficients,
) -> float:
    """Return by how much `beta` misses the conditions of the closest fit, relatively.

    The larger of two: the part of Q'(beta) - Q'(start) outside the row space of x, against all of
    it; and |X beta - y| / |y|.
    """
    potential.check(beta, name="beta")
    moved = potential.slope(beta) - potential.slope(start)
    rows, _ = np.linalg.qr(x.T)
    outside = np.linalg.norm(moved - rows @ (rows.T @ moved))
    size = max(float(np.linalg.norm(moved)), np.finfo(moved.dtype).tiny)
    return float(max(outside / size, np.linalg.norm(x @ beta - y) / np.linalg.norm(y)))


def _residual(
    potential: Potential,
    start: Coefficients,
    x: Float[np.ndarray, "m n"],
    y: Float[np.ndarray, " m"],
    beta: Coefficients,
    multipliers: Float[np.ndarray, " m"],
) -> Float[np.ndarray, " nm"]:
    stationary = potential.slope(beta) - potential.slope(start) - x.T @ multipliers
    return np.concatenate([stationary, x @ beta - y])


def _newton(
    curvature: Coefficients, x: Float[np.ndarray, "m n"], residual: Float[np.ndarray, " nm"]
) -> tuple[Coefficients, Float[np.ndarray, " m"]]:
    """Solve (Q'' d_beta - X' d_lambda, X d_beta) = -residual, by its Schur complement."""
    stationary, unfit = np.split(residual, [len(curvature)])
    weighted = x / curvature  # X / Q''
    d_multipliers = np.linalg.solve(weighted @ x.T, weighted @ stationary - unfit)
    return (x.T @ d_multipliers - stationary) / curvature, d_multipliers


def _check_positive_fit(x: Float[np.ndarray, "m n"], y: Float[np.ndarray, " m"]) -> None:
    """Raise NoFitError unless X beta = y for some beta > 0: maximise its least entry, up to 1."""
    m, n = x.shape
    found = linprog(
        np.r_[np.zeros(n), -1.0],
        A_ub=np.c_[-np.eye(n), np.ones(n)],
        b_ub=np.zeros(n),
        A_eq=np.c_[x, np.zeros(m)],
        b_eq=y,
        bounds=[(None, None)] * n + [(None, 1.0)],
    )
    least = 0.0 - found.fun if found.success else -np.inf
    if not least > 0:
        raise NoFitError(
            f"no coefficients above 0 fit the data (the best fit has a least one of {least:.2g}), "
            "and those of a DEQ z = w z + x are above 0; give it input weights u, or other data"
        )
