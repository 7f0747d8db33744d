"""The diagonal Lambda of the Lipschitz matrix inequality, by an interior-point method.

In Lambda / gamma, which is called Lambda here, the inequality is

    S = 2 Lambda - Lambda W - W' Lambda - Lambda^2 - s I >= 0,    s = 1 / gamma^2.

The left side is matrix-concave in (Lambda, s), so that the largest s is a convex problem, and any
Lambda with a low enough s is a start. Near Lambda = 0 it comes to 0 for every W: an inequality
that no Lambda satisfies is one whose largest s is 0. The central path, where

    tau s + log det S

is largest, ends there; on it s is at most 2 n / tau below its largest value, for S is the Schur
complement of a linear matrix of size 2 n. tau grows by GROWTH, and each time a few Newton steps
lead back to the path. With Q = S^-1, C = I - Lambda - W, and * entrywise, -log det S has the
derivatives

    -2 diag(C Q), tr Q;    2 (CQ * (CQ)' + CQC' * Q + diag(Q)), -2 diag(C Q^2), tr Q^2.

Source: Boyd & Vandenberghe (2004), "Convex Optimization"; the derivatives are derived here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.stability.certificates.matrices import Square

Diagonal = Float64[Tensor, " n"]

GROWTH = 10.0

PRECISION = 2e-2
"""Relative precision of s, twice that of gamma: Lambda is a proof at any."""

LEAST = 1e-10
"""The s below which no Lambda is looked for: gamma is then above 1e5."""

NEWTON_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search came to.

    Attributes:
        multipliers: The diagonal of Lambda, in the units of `lipschitz_inequality`; None if there
            is none.
        largest: A number that 1 / gamma does not exceed for any Lambda, to rounding.
    """

    multipliers: Diagonal | None
    largest: float


def search(w: Square) -> Found:
    """Return a Lambda for which gamma is nearly the least.

    Args:
        w: L W, finite.
    """
    if not bool((w.diagonal() < 1).all()):  # S has an entry 2 lambda (1 - W_ii) - ... below 0
        return Found(multipliers=None, largest=0.0)
    dim = len(w)  # with the diagonal below 1, S > 0 and s >= 0 leave no lambda at 0 or below
    room = 1 - float(torch.linalg.eigvalsh((w + w.mT) / 2)[-1])
    # The best multiple of the identity if there is one, or else a small one: there s is not low.
    lam = torch.full((dim,), room if room > 0 else 0.1 / (1 - room), dtype=w.dtype)
    s = _least(w, lam)
    s -= 1e-2 + abs(s)
    tau = 1.0
    while True:
        lam, s = _centre(w, lam, s, tau)
        gap = 2 * dim / tau
        if s > 0 and gap < PRECISION * s:
            s = _least(w, lam)
            return Found(multipliers=lam / s**0.5, largest=(s + gap) ** 0.5)
        if s + gap < LEAST or tau > 1e16:
            return Found(multipliers=None, largest=max(s + gap, 0.0) ** 0.5)
        tau *= GROWTH


def _least(w: Square, lam: Diagonal) -> float:
    """Return the largest s for this Lambda."""
    return float(torch.linalg.eigvalsh(_inequality(w, lam, 0.0))[0])


def _inequality(w: Square, lam: Diagonal, s: float) -> Square:
    """Return S."""
    left = lam[:, None] * w
    return torch.diag(2 * lam - lam * lam - s) - left - left.mT


def _centre(w: Square, lam: Diagonal, s: float, tau: float) -> tuple[Diagonal, float]:
    """Return the point of the central path at tau, from any point with S > 0."""
    value, q = _barrier(w, lam, s, tau)
    for _ in range(NEWTON_STEPS):
        if q is None:
            break
        gradient, hessian = _derivatives(w, lam, q, tau)
        step, failed = torch.linalg.solve_ex(hessian, gradient)
        decrement = float(gradient @ step)
        if bool(failed) or not decrement > 1e-3:  # nan as well: rounding has the last word
            break
        size, there = 1.0, None
        while size > 1e-6:
            moved = lam + size * step[:-1], s + size * float(step[-1])
            after, there = _barrier(w, *moved, tau)
            if there is not None and after > value + 0.1 * size * decrement:
                break
            size /= 2
        else:
            break
        (lam, s), value, q = moved, after, there
    return lam, s


def _barrier(w: Square, lam: Diagonal, s: float, tau: float) -> tuple[float, Square | None]:
    """Return tau s + log det S and the inverse of S; None where S is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(_inequality(w, lam, s))
    if bool(failed):
        return -float("inf"), None
    return tau * s + 2 * float(factor.diagonal().log().sum()), torch.cholesky_inverse(factor)


def _derivatives(
    w: Square, lam: Diagonal, q: Square, tau: float
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m m"]]:
    """Return the gradient of tau s + log det S by (Lambda, s), and minus its second derivative."""
    dim = len(w)
    c = torch.diag(1 - lam) - w
    g = c @ q
    gradient = torch.cat([2 * g.diagonal(), tau - q.trace()[None]])
    hessian = q.new_empty(dim + 1, dim + 1)
    hessian[:dim, :dim] = 2 * (g * g.mT + (g @ c.mT) * q + torch.diag(q.diagonal()))
    hessian[:dim, dim] = hessian[dim, :dim] = -2 * (g * q).sum(dim=1)
    hessian[dim, dim] = (q * q).sum()
    return gradient, hessian
