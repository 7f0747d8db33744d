"""Weights whose coordinates are solved one after another: triangular and diagonal ones.

Row i of a lower triangular z = phi(W z + q) has one unknown, z_i = phi(W_ii z_i + c_i) with c_i
made of rows before. For nondecreasing phi with Lipschitz constant L its right side has slope at
most L max(W_ii, 0), so that it has one solution if L W_ii < 1, whatever stands below the diagonal.
What a change of all weights, or of q, may come to is that of `perron_frobenius.metzler`.
Source: El Ghaoui et al. (2021), "Implicit Deep Learning"; here for nondecreasing phi.
"""

from dataclasses import replace

import torch
from torch import Tensor

from deqlab.arguments import check_positive
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.comparison import compare
from deqlab.stability.certificates.matrices import EPS, checked, not_finite
from deqlab.stability.certificates.perron_frobenius import metzler_part

TRIANGULAR = "triangular W: L max diag W < 1 (El Ghaoui et al. 2021)"
DIAGONAL = "diagonal W: L max diag W < 1"


def triangular(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the diagonal of a triangular W proves of z = phi(W z + q).

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi, which must be nondecreasing.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    if (unknown := not_finite(w)) is not None:
        return unknown
    if not (torch.equal(w, w.tril()) or torch.equal(w, w.triu())):
        return Certificate.unknown("triangular: W has entries on both sides of its diagonal")
    certificate = _scalar_slopes(w.diagonal(), slope, TRIANGULAR)
    if not certificate.holds:
        return certificate
    found = compare(metzler_part(w), 1 / slope)
    absolute = compare(w.abs(), 1 / slope)
    return replace(
        certificate,
        rate=None if absolute is None else slope * absolute.radius,
        lipschitz=None if found is None else found.lipschitz,
        perturbation=None if found is None else found.perturbation,
    )


def diagonal(entries: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what is proved of z = phi(w * z + q), elementwise.

    Args:
        entries: w, (n,).
        slope: The Lipschitz constant of phi, which must be nondecreasing.

    Raises:
        ValueError: w is no vector, or `slope` is not above 0.
    """
    check_positive("slope", slope)
    if entries.ndim != 1 or not len(entries):
        raise ValueError(f"w must be a vector, got the shape {tuple(entries.shape)}")
    w = entries.detach().to("cpu", torch.float64)
    if not bool(w.isfinite().all()):
        return Certificate.unknown("the weight w is not finite")
    certificate = _scalar_slopes(w, slope, DIAGONAL)
    if not certificate.holds:
        return certificate
    rate = slope * float(w.abs().max()) * (1 + EPS)
    return replace(
        certificate,
        rate=rate if rate < 1 else None,
        lipschitz=slope / certificate.margin,
        # It is I - W >= (margin / L) I in the monotone sense, which a smaller dW keeps.
        perturbation=certificate.margin / slope,
    )


def _scalar_slopes(entries: Tensor, slope: float, theorem: str) -> Certificate:
    largest = slope * float(entries.max())
    margin = 1 - largest - EPS * (1 + abs(largest))  # one product, one difference
    if not margin > 0:
        failed = theorem.partition(" (")[0]
        return Certificate.unknown(f"{failed} fails: L max diag W = {largest:.4g}", margin)
    return Certificate(theorem=theorem, holds=True, margin=margin, exists=True, unique=True)
