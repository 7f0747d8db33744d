"""Well-posedness and a Lipschitz bound of z = phi(W z + q) by a matrix inequality.

phi is nondecreasing with Lipschitz constant L; W stands for L W here. If a diagonal Lambda > 0 has

    2 Lambda - Lambda W - W' Lambda - (I + Lambda^2) / gamma >= 0,

there is one fixed point and |z - z'| <= L gamma |q - q'|: the difference e of two solutions has
e' Lambda e <= e' Lambda (W e + d), and with 2 e' Lambda d <= |Lambda e|^2 / gamma + gamma |d|^2 the
inequality leaves |e|^2 / gamma <= gamma |d|^2. By the same step it survives every dW with
L |dW|_2 < 1 / gamma. Lambda = I is the monotone margin, m = 1 / gamma. Source: Revay, Wang &
Manchester (2020), "Lipschitz bounded equilibrium networks", with the output z.

`multipliers` looks for Lambda. What it finds is not trusted: the margin is the least eigenvalue of

    T^-1/2 (Lambda - (Lambda W + W' Lambda) / 2) T^-1/2,    T = (I + Lambda^2) / 2,

which is 1 / gamma, computed anew and with its rounding taken off.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.matrices import (
    Square,
    checked,
    least_eigenvalue_below,
    not_finite,
)
from deqlab.stability.certificates.monotone import strongly_monotone
from deqlab.stability.certificates.multipliers import search


def lipschitz_inequality(
    weight: Tensor,
    *,
    slope: float = 1.0,
    multipliers: Tensor | None = None,
) -> Certificate:
    """Return what a diagonal Lambda proves of z = phi(W z + q), for nondecreasing phi.

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.
        multipliers: The diagonal of Lambda, (n,); None to look for it, which takes some tens of
            factorisations of W.

    Raises:
        ValueError: W is no square matrix, `slope` is not above 0, or the multipliers are not
            positive.
    """
    w = checked(weight, slope)
    if (unknown := not_finite(w)) is not None:
        return unknown
    if multipliers is None:
        found = search(slope * w)
        if found.multipliers is None:
            return Certificate.unknown(
                "Lipschitz matrix inequality: no diagonal Lambda has 1 / gamma above "
                f"{found.largest:.1g}"
            )
        multipliers = found.multipliers
    _check(multipliers, len(w))
    margin = margin_of(slope * w, multipliers.detach().to("cpu", torch.float64))
    if not margin > 0:
        return Certificate.unknown(
            f"Lipschitz matrix inequality: its least eigenvalue is {margin:.4g}, not above 0, at "
            "this Lambda",
            margin,
        )
    theorem = "Lipschitz matrix inequality (Revay, Wang & Manchester 2020)"
    return strongly_monotone(theorem, margin, slope)


def margin_of(w: Square, multipliers: Float64[Tensor, " n"]) -> float:
    """Return 1 / gamma for this Lambda, rounded down; 0 or less where the inequality fails.

    Args:
        w: L W.
        multipliers: The diagonal of Lambda, positive.
    """
    scale = (2 / (1 + multipliers * multipliers)).sqrt()
    left = scale[:, None] * multipliers[:, None] * w * scale
    diagonal = torch.diag(scale * multipliers * scale)
    size = torch.linalg.matrix_norm(diagonal) + torch.linalg.matrix_norm(left)
    return least_eigenvalue_below(diagonal - (left + left.mT) / 2, size=size)


def _check(multipliers: Tensor, width: int) -> None:
    if multipliers.shape != (width,) or not bool(
        ((multipliers > 0) & multipliers.isfinite()).all()
    ):
        raise ValueError(
            f"multipliers must be {width} positive, finite numbers, the diagonal of Lambda, got "
            f"{multipliers}"
        )
