"""Comparison of z = phi(W z + q) with a linear equation whose matrix has non-negative couplings.

If |e| <= L (N |e| + |d|) entry by entry for the difference e of two solutions whose q differ by d,
with N_ij >= 0 off the diagonal, and A = I / L - N is a nonsingular M-matrix, then A^-1 >= 0 and

    |e| <= A^-1 |d|.

A is one exactly if some v > 0 has A v > 0 (Berman & Plemmons 1994, "Nonnegative Matrices in the
Mathematical Sciences"). So any v that a computer finds is a proof as soon as A v
is seen to be positive with its rounding taken off, and the same v bounds the largest real
eigenvalue of N by max_i (N v)_i / v_i (Collatz 1942). Here v = (s I - N)^-1 1 for several s.

A change dW of the weights changes N by no more than |dW|, and (|dW| v)_i <= |dW|_2 |v|_2: A v stays
positive while |dW|_2 < min (A v) / |v|_2, and the v with A v = 1 makes the most of it. The same
holds with A' in place of A.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.stability.certificates.matrices import EPS, Square, norm_above

SHARES = (1e-9, 1e-6, 1e-3, 0.1, 1.0)
"""Where s lies between the computed eigenvalue and 1 / L: near it v is nearly an eigenvector, and
the bound is sharp, unless rounding spoils a v that spans many orders."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is proved of N.

    Attributes:
        radius: A number that no real part of an eigenvalue of N exceeds.
        lipschitz: A bound on |A^-1|_2; None where rounding leaves none.
        perturbation: A stays an M-matrix while |dW|_2 is below this; None likewise.
    """

    radius: float
    lipschitz: float | None
    perturbation: float | None


def estimate(n: Square) -> float:
    """Return the largest real part of an eigenvalue, computed and not proved."""
    return float(torch.linalg.eigvals(n).real.max())


def compare(n: Square, bound: float) -> Comparison | None:
    """Return what is proved of N, or None if nothing shows that its eigenvalues are below `bound`.

    Args:
        n: N, non-negative off the diagonal.
        bound: 1 / L.
    """
    low = estimate(n)
    if not low < bound:
        return None
    radii = [_collatz(n, low + share * (bound - low)) for share in SHARES]
    radius = min(radii)
    if not radius < bound:
        return None
    a = bound * torch.eye(len(n), dtype=n.dtype) - n
    margins = [m for m in (_margin(a), _margin(a.mT)) if m is not None]
    return Comparison(
        radius=radius,
        lipschitz=_inverse_norm(a),
        perturbation=max(margins, default=None),
    )


def _collatz(n: Square, s: float) -> float:
    """Return max (N v)_i / v_i, rounded up, for v = (s I - N)^-1 1; infinite if v is not > 0."""
    v = _ones_solved(s * torch.eye(len(n), dtype=n.dtype) - n)
    if v is None:
        return float("inf")
    image = n @ v + _rounding(n, v)
    return float((image / v).max() * (1 + 2 * EPS))


def _margin(a: Square) -> float | None:
    """Return min (A v) / |v|, rounded down, for A v = 1; None if that proves nothing."""
    v = _ones_solved(a)
    if v is None:
        return None
    image = a @ v - _rounding(a, v)
    margin = float(image.min() / torch.linalg.vector_norm(v)) * (1 - len(a) * EPS)
    return margin if margin > 0 else None


def _inverse_norm(a: Square) -> float | None:
    """Return a bound on |A^-1|_2, from a computed inverse X: |X| / (1 - |I - A X|)."""
    x, failed = torch.linalg.inv_ex(a)
    if bool(failed) or not bool(x.isfinite().all()):
        return None
    rest = (torch.eye(len(a), dtype=a.dtype) - a @ x).abs() + _rounding(a, x)
    off = float(torch.linalg.matrix_norm(rest))
    return norm_above(x) / (1 - off) if off < 1 else None


def _ones_solved(a: Square) -> Float64[Tensor, " n"] | None:
    """Return A^-1 1, or None if it is not positive and finite."""
    v, failed = torch.linalg.solve_ex(a, torch.ones(len(a), dtype=a.dtype))
    return None if bool(failed) or not bool(((v > 0) & v.isfinite()).all()) else v


def _rounding(a: Square, v: Tensor) -> Tensor:
    """Return a bound on the rounding error of each entry of A v: dot products of n terms."""
    # 2 n covers the forming of A from N as well.
    return 2 * (len(a) + 2) * EPS * (a.abs() @ v.abs())
