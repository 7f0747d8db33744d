"""Contraction in the 1-, 2- and infinity-norm.

f(z) = phi(W z + q) with |phi(a) - phi(b)| <= L |a - b|, elementwise, has the Lipschitz constant
L |W|_p in the p-norm. Below 1 Banach's theorem (1922) gives the one fixed point and the rate of
plain iteration, and

    |z - z'| <= L (|W|_p |z - z'| + |q - q'|),    so    |z - z'|_p <= L / (1 - L |W|_p) |q - q'|_p.

In the 1- and infinity-norm each constant costs a factor sqrt(n) on its way to the Euclidean norm.
"""

from collections.abc import Sequence
from math import hypot, prod

import torch
from torch import Tensor

from deqlab.arguments import check_positive
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.fixed_point_theorems import contraction
from deqlab.stability.certificates.matrices import (
    EPS,
    Square,
    checked,
    norm_above,
    not_finite,
)


def two_norm(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the spectral norm of W proves of z = phi(W z + q).

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    return not_finite(w) or _contraction("2", norm_above(w), slope)


def composed_two_norm(
    layers: Sequence[Sequence[Tensor]], *, slope: float = 1.0, gain: float = 1.0
) -> Certificate:
    """Return what spectral norms prove of f(z) = phi(W_n ... phi(g W_1 z + q_1) ... + q_n).

    Each W is block-diagonal in an orthonormal basis. `lipschitz` is that of all q_i together.

    Args:
        layers: The blocks of each W from W_1 on: square matrices, (..., n, n), real or complex.
        slope: The Lipschitz constant of phi.
        gain: g, 0 or more.

    Raises:
        ValueError: A block is no square matrix, or `slope` is not above 0.
    """
    check_positive("slope", slope)
    norms = [max(norm_above(_block(each)) for each in layer) for layer in layers]
    norms[0] *= gain
    # What a change of q_i becomes on its way through the layers behind it.
    grown = [slope * prod(slope * norm for norm in norms[i + 1 :]) for i in range(len(norms))]
    rate = prod(slope * norm for norm in norms)
    return contraction(
        rate,
        "g L |W|_2" if len(norms) == 1 else "g L^n |W1|_2 ... |Wn|_2",
        injection=hypot(*grown),
        perturbation=(1 - rate) / slope if len(norms) == 1 else None,
    )


def _block(matrices: Tensor) -> Tensor:
    """Return square matrices in double precision on the host.

    Raises:
        ValueError: They are none.
    """
    shape = matrices.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or not matrices.numel():
        raise ValueError(f"blocks must be square matrices, got the shape {tuple(shape)}")
    return matrices.detach().to("cpu", torch.promote_types(matrices.dtype, torch.float64))


def infinity_norm(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the largest sum of a row of |W| proves of z = phi(W z + q).

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    return not_finite(w) or _contraction("infinity", _largest_sum(w), slope, len(w) ** 0.5)


def one_norm(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the largest sum of a column of |W| proves of z = phi(W z + q).

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    return not_finite(w) or _contraction("1", _largest_sum(w.mT), slope, len(w) ** 0.5)


def _largest_sum(w: Square) -> float:
    # A sum of n numbers of one sign is off by less than n eps of itself.
    return float(torch.linalg.vector_norm(w, ord=1, dim=1).max()) * (1 + len(w) * EPS)


def _contraction(name: str, norm: float, slope: float, equivalence: float = 1.0) -> Certificate:
    """Return the certificate of a map whose constant is slope * norm.

    Args:
        name: That of the norm.
        norm: That of W, or more.
        slope: The Lipschitz constant of phi.
        equivalence: What one constant grows by at most on its way to the Euclidean norm.
    """
    return contraction(
        slope * norm,
        f"L |W|_{name}",
        norm=name,
        injection=equivalence * slope,
        perturbation=(1 - slope * norm) / (slope * equivalence),
    )
