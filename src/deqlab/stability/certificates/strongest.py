"""All theorems on one weight, and the strongest of what they prove."""

import math
from dataclasses import replace

from torch import Tensor

from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.lipschitz_inequality import lipschitz_inequality
from deqlab.stability.certificates.monotone import monotone
from deqlab.stability.certificates.norms import infinity_norm, one_norm, two_norm
from deqlab.stability.certificates.perron_frobenius import metzler, perron_frobenius
from deqlab.stability.certificates.triangular import triangular

OF_LIPSCHITZ = {
    "two_norm": two_norm,
    "infinity_norm": infinity_norm,
    "one_norm": one_norm,
    "perron_frobenius": perron_frobenius,
}
"""Theorems for every Lipschitz activation."""

OF_NONDECREASING = {
    "monotone": monotone,
    "metzler": metzler,
    "triangular": triangular,
    "lipschitz_inequality": lipschitz_inequality,
}
"""Theorems that need a nondecreasing activation as well."""

WIDEST = 1024
"""Above this width the search for the multipliers of the matrix inequality takes minutes."""


def every_certificate(
    weight: Tensor, *, slope: float = 1.0, nondecreasing: bool = True
) -> dict[str, Certificate]:
    """Return what each theorem says of z = phi(W z + q), by its name.

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.
        nondecreasing: Whether phi is nondecreasing: relu, tanh and the sigmoid are, SiLU, GELU and
            the sine are not.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    found = {name: theorem(weight, slope=slope) for name, theorem in OF_LIPSCHITZ.items()}
    for name, theorem in OF_NONDECREASING.items():
        if not nondecreasing:
            reason = f"{name}: the activation is not nondecreasing"
        elif name == "lipschitz_inequality" and len(weight) > WIDEST:
            reason = f"{name}: not searched above a width of {WIDEST}; call it to do so"
        else:
            found[name] = theorem(weight, slope=slope)
            continue
        found[name] = Certificate.unknown(reason)
    return found


def best_certificate(
    weight: Tensor, *, slope: float = 1.0, nondecreasing: bool = True
) -> Certificate:
    """Return the strongest of what all theorems prove of z = phi(W z + q).

    The strongest is the one with the least Lipschitz bound. If another bounds the rate of plain
    iteration, or bounds it lower, that rate is taken over, and `theorem` names both.

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.
        nondecreasing: Whether phi is nondecreasing: relu, tanh and the sigmoid are, SiLU, GELU and
            the sine are not.

    Returns:
        The certificate. If no theorem applies it is unknown, and says by how much each missed.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.

    Example:
        >>> import torch
        >>> rotation = torch.tensor([[0.0, -3.0], [3.0, 0.0]])
        >>> certificate = best_certificate(rotation)  # of norm 3, and yet well-posed
        >>> certificate.theorem
        "monotone: I - L (W + W') / 2 > 0 (Winston & Kolter 2020)"
        >>> round(certificate.lipschitz, 6), certificate.rate is None
        (1.0, True)
    """
    found = every_certificate(weight, slope=slope, nondecreasing=nondecreasing)
    proved = [certificate for certificate in found.values() if certificate.holds]
    if not proved:
        missed = dict.fromkeys(certificate.theorem for certificate in found.values())
        margins = [c.margin for c in found.values() if not math.isnan(c.margin)]
        reason = "no theorem applies: " + "; ".join(missed)
        return Certificate.unknown(reason, max(margins, default=math.nan))
    # Of two that say the same, the search for multipliers has rounded more: it stands last.
    best = min(proved, key=lambda c: math.inf if c.lipschitz is None else c.lipschitz)
    fastest = min(proved, key=lambda c: math.inf if c.rate is None else c.rate)
    if fastest.rate is None or fastest.rate == best.rate:
        return best
    theorem = f"{best.theorem}; its rate: {fastest.theorem}"
    return replace(best, rate=fastest.rate, theorem=theorem)
