"""What is proved of a recurrent equilibrium network: that its trajectories come together.

Let dx, dw be the differences of two trajectories with the same input. As sigma is nondecreasing
with slopes of at most 1, dw' Lambda (C dx + D dw - dw) >= 0 for each positive diagonal Lambda. If

    M = [a^2 S, -C' Lambda; -Lambda C, 2 Lambda - Lambda D - D' Lambda] - [A B]' S [A B] >= 0,

then |dx+|_S <= a |dx|_S, in the norm of S > 0. This is the condition on the explicit network; the
parametrisation solves another form of it, and is not trusted here: the margin is the least
eigenvalue of M in units of its own diagonal, with the rounding taken off. Source: Revay, Wang &
Manchester (2023), Theorem 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.matrices import least_eigenvalue_below


@dataclass(frozen=True, kw_only=True)
class Explicit:
    """The network as x+ = A x + B w + B2 u + b_x and w = sigma(C x + D w + D2 u + b_v).

    Attributes:
        a: A = E^-1 F, (n, n).
        b: B = E^-1 B1, (n, q).
        inputs: B2 and b_x after E^-1, (n, m + 1).
        c: C, (q, n).
        d: D, (q, q).
        multipliers: The diagonal of Lambda, (q,).
        metric: S = E'P^-1 E, (n, n).
    """

    a: Tensor
    b: Tensor
    inputs: Tensor
    c: Tensor
    d: Tensor
    multipliers: Tensor
    metric: Tensor


def contraction(net: Explicit, rate: float) -> Certificate:
    """Return whether two trajectories of the network come closer by `rate` in each step.

    Args:
        net: The network.
        rate: a, in (0, 1].
    """
    a, b, c, d, multipliers, metric = (
        each.detach().to("cpu", torch.float64)
        for each in (net.a, net.b, net.c, net.d, net.multipliers, net.metric)
    )
    matrix = inequality(a, b, c, d, multipliers, (metric + metric.mT) / 2, rate)
    if not bool(matrix.isfinite().all()):
        return Certificate.unknown("the weights of the network are not finite")
    margins = [_least(matrix), _least((metric + metric.mT) / 2)]
    if not min(margins) > 0:
        return Certificate.unknown(
            f"contraction: the least eigenvalue of its matrix inequality is {min(margins):.4g}, "
            "not above 0",
            min(margins),
        )
    return Certificate(
        theorem=f"contracting by {rate:g} a step (Revay, Wang & Manchester 2023)",
        holds=True,
        margin=margins[0],
        exists=True,
        unique=True,
        rate=rate,
    )


def inequality(
    a: Tensor, b: Tensor, c: Tensor, d: Tensor, multipliers: Tensor, metric: Tensor, rate: float
) -> Tensor:
    """Return M, (n + q, n + q)."""
    lc, ld = multipliers[:, None] * c, multipliers[:, None] * d
    neurons = 2 * torch.diag(multipliers) - ld - ld.mT
    left = torch.cat(
        [torch.cat([rate**2 * metric, -lc.mT], dim=1), torch.cat([-lc, neurons], dim=1)]
    )
    step = torch.cat([a, b], dim=1)
    return left - step.mT @ metric @ step


def _least(matrix: Tensor) -> float:
    """Return the least eigenvalue of a matrix scaled to a unit diagonal, rounded down."""
    diagonal = matrix.diagonal()
    if not bool((diagonal > 0).all()):
        return float(diagonal.min())
    scale = diagonal.rsqrt()
    return least_eigenvalue_below(scale[:, None] * matrix * scale)
