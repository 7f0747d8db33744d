"""Well-posedness of z = phi(W z + q) by monotonicity, whatever the norm of W.

phi is nondecreasing with Lipschitz constant L. Two solutions differ by e = S (W e + d) with a
diagonal 0 <= S <= L, so that e'e <= L e'(W e + d). If

    I - L (W + W') / 2 >= m I,    m > 0,

then m |e|^2 <= L e'd: there is one fixed point, |z - z'| <= (L / m) |q - q'|, and every W + dW with
L |dW|_2 < m has one as well. Plain iteration may diverge all the same; the splitting methods find
it. Source: Winston & Kolter (2020), "Monotone operator equilibrium networks"; the bound is that
of Revay, Wang & Manchester (2020), "Lipschitz bounded equilibrium networks", at Lambda = I.
"""

import torch
from torch import Tensor, nn

from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.matrices import (
    checked,
    least_eigenvalue_below,
    not_finite,
)


def monotone(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the symmetric part of W proves of z = phi(W z + q), for nondecreasing phi.

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    if (unknown := not_finite(w)) is not None:
        return unknown
    eye = torch.eye(len(w), dtype=w.dtype)
    size = len(w) ** 0.5 + slope * torch.linalg.matrix_norm(w)
    margin = least_eigenvalue_below(eye - slope * (w + w.mT) / 2, size=size)
    if not margin > 0:
        return Certificate.unknown(
            f"monotone: the least eigenvalue of I - L (W + W') / 2 is {margin:.4g}, not above 0",
            margin,
        )
    theorem = "monotone: I - L (W + W') / 2 > 0 (Winston & Kolter 2020)"
    return strongly_monotone(theorem, margin, slope)


def strongly_monotone(theorem: str, margin: float, slope: float = 1.0) -> Certificate:
    """Return the certificate that m |e|^2 <= L e'd proves, in some metric.

    Args:
        theorem: What proves it.
        margin: m, more than 0.
        slope: L.
    """
    return Certificate(
        theorem=theorem,
        holds=True,
        margin=margin,
        exists=True,
        unique=True,
        lipschitz=slope / margin,
        perturbation=margin / slope,
    )


def monotone_by_construction(cell: nn.Module, margin: float) -> Certificate:
    """Return the certificate of z = sigma(W z + q) with I - W >= margin I at any weights."""
    return weights_not_finite(cell) or strongly_monotone(
        "I - W = m I + A'A - B + B' >= m I by parametrisation, sigma a proximal operator: one "
        "fixed point (Winston & Kolter 2020)",
        margin,
    )
