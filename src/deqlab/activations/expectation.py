"""Means of functions of one Gaussian, E[h(sqrt(a) xi)]."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.activations.rules import Function, piecewise, reach_of, settled, trapezoidal

# Nodes on all of [-reach, reach], and between two kinks.
SMOOTH_COUNTS = tuple(round(24 * 1.25**k) for k in range(31))
PIECE_COUNTS = tuple(round(12 * 1.25**k) for k in range(16))

TINY = 1e-150
"""Takes the place of a standard deviation of 0, so that a kink at 0 still has two sides."""

Integrand = Callable[[Tensor, Tensor], Tensor]
"""A function of u = sqrt(a) xi and xi; it may put further dimensions in front."""


def expectation(
    integrand: Integrand,
    a: Float[Tensor, " N"],
    kinks: tuple[float, ...],
    *,
    size: Function,
    name: str,
) -> Float[Tensor, "*M N"]:
    """Return E[integrand(sqrt(a) xi, xi)] for every a, in the limit for a = 0.

    Args:
        integrand: Analytic but for the kinks.
        a: Variances, 0 or more.
        kinks: Values of u.
        size: A function of u; the integrand grows no faster than its square.
        name: The name of the activation, for messages.

    Raises:
        RuntimeError: No rule resolves the integral.
    """
    sigma = torch.sqrt(a).clamp(min=TINY)[:, None]
    if not len(a):
        return integrand(sigma, sigma).sum(dim=-1)
    reach = reach_of(size, float(a.max()), float(a.min()), name)

    def rule(count: int, sigma: Tensor) -> Tensor:
        if kinks:
            where = torch.tensor(kinks, dtype=a.dtype, device=a.device)
            x, weights = piecewise(where / sigma, count, reach)
        else:
            x, weights = trapezoidal(count, reach, a.device)
        return (integrand(sigma * x, x) * weights).sum(dim=-1)

    ends = torch.stack([sigma[a.argmin()], sigma[a.argmax()], sigma[len(a) // 2]])
    scale = roughly(lambda u, x: integrand(u, x).abs(), ends, reach)
    counts = PIECE_COUNTS if kinks else SMOOTH_COUNTS
    return rule(settled(lambda count: rule(count, ends), counts, scale, name), sigma)


def roughly(
    integrand: Integrand, sigma: Float[Tensor, "N 1"], reach: float
) -> Float[Tensor, "*M N"]:
    """Return E[integrand(sigma xi, xi)] to a few digits, enough for the scale of a tolerance."""
    x, weights = trapezoidal(400, reach, sigma.device)
    return (integrand(sigma * x, x) * weights).sum(dim=-1)
