"""Means of f(u) f(v) for pairs of Gaussians and analytic f, by the Hermite series of f.

With h_n the normalised Hermite polynomials, E[h_m(x) h_n(x)] = [m = n], and

    c_n(a) = E[f(sqrt(a) x) h_n(x)],        x ~ N(0, 1),

Mehler's formula gives E[f(u) f(v)] = sum_n c_n(a) c_n(b) rho^n (Daniely et al. 2016, section 4.2).
What is left out after N terms is at most, at every rho, the root of the product of

    E[f(u)^2] - sum_(n < N) c_n(a)^2

and the same for v. With f analytic up to a distance d from the real line the terms fall like
exp(-2 d sqrt(n / a)); with a kink, like a power of n, which is too slow.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.activations.covariance import Covariance
from deqlab.activations.expectation import SMOOTH_COUNTS
from deqlab.activations.rules import Function, reach_of, settled, trapezoidal

COUNTS = SMOOTH_COUNTS[:20]
"""Numbers of nodes that are tried."""

VALUES = 2**19
"""Values of f at once: 4 MB each for the few arrays of this size."""

TERMS, MOST_TERMS = 32, 2**15
"""Terms between two looks at what is left, and in all."""

REST = 2e-14
"""Share of E[f(u)^2] that may be left out."""


def pair_series(f: Function, pair: Covariance, name: str) -> Float[Tensor, "*S"]:
    """Return E[f(u) f(v)] for every pair.

    Raises:
        RuntimeError: f is too steep, or grows too fast, for these variances.
    """
    a, b, c, size = (
        t.flatten() for t in torch.broadcast_tensors(pair.a, pair.b, pair.c, pair.size)
    )
    if not len(a):
        return torch.zeros(pair.shape, dtype=c.dtype, device=c.device)
    rho = torch.where(c == 0, 0.0, c / size).clamp(-1, 1)
    ends = torch.stack([a.max(), b.max(), a.min(), b.min()])
    reach = reach_of(f, float(ends.max()), float(ends.min()), name)
    scale = _norms(f, ends, COUNTS[-1], reach)

    # The square alone is no proof: that of a sign is 1 on any grid. It tells where to begin.
    first = settled(lambda count: _norms(f, ends, count, reach), COUNTS, scale, name)
    few, other = ends[[0, 0, 0, 1, 2, 1]], ends[[0, 0, 1, 1, 2, 0]]
    cosines = ends.new_tensor([1.0, 0.5, -0.7, 0.97, 1.0, 0.3])
    roots = torch.sqrt(scale)  # each by itself: the product of two leaves the range of float64
    sizes = roots[[0, 0, 0, 1, 2, 1]] * roots[[0, 0, 1, 1, 2, 0]]
    counts = COUNTS[COUNTS.index(first) :]
    count = settled(
        lambda count: _sum(f, few, other, cosines, trapezoidal(count, reach, a.device)),
        counts,
        sizes,
        name,
    )
    rule = trapezoidal(math.ceil(1.25 * count), reach, a.device)
    step = max(1, VALUES // (2 * len(rule[0])))
    parts = zip(a.split(step), b.split(step), rho.split(step), strict=True)
    total = torch.cat([_sum(f, *part, rule) for part in parts])
    if bool(total.isnan().any()):
        raise RuntimeError(
            f"Gaussian integrals of {name} are not resolved by the Hermite polynomials that "
            f"{len(rule[0])} nodes resolve; it is too steep for these variances"
        )
    return total.view(pair.shape)


def _norms(f: Function, a: Tensor, count: int, reach: float) -> Tensor:
    """Return E[f(u)^2]."""
    x, weights = trapezoidal(count, reach, a.device)
    values: Tensor = f(a.sqrt()[:, None] * x) ** 2 @ weights
    return values


def _sum(
    f: Function, a: Tensor, b: Tensor, rho: Tensor, rule: tuple[Tensor, Tensor]
) -> Float[Tensor, " N"]:
    """Return the sum of the series; nan where the rule resolves too few of its terms."""
    x, weights = rule
    # Of n^2 pairs of n points, a and b have n values.
    variances, where = torch.unique(torch.cat([a, b]), return_inverse=True)
    u, v = where.split(len(a))
    values = f(variances.sqrt() * x[:, None])  # (nodes, variances)
    weighted, rest = values * weights[:, None], weights @ values**2
    allowed = REST * rest
    powers = rho.expand(TERMS, -1).cumprod(dim=0)
    powers[powers.abs() < 1e-30] = 0  # denormal numbers are slow
    powers, step = torch.cat([torch.ones_like(rho)[None], powers[:-1]]), powers[-1]
    total, factor = torch.zeros_like(rho), torch.ones_like(rho)
    for polynomials in _hermite(x):
        coefficients = polynomials @ weighted  # (TERMS, variances)
        total += factor * (coefficients[:, u] * coefficients[:, v] * powers).sum(dim=0)
        rest = rest - coefficients.square().sum(dim=0)
        if bool((rest <= allowed).all()):
            # Less than nothing is left where terms alias.
            return total if bool((rest >= -allowed).all()) else torch.full_like(total, torch.nan)
        factor = factor * step
    return torch.full_like(total, torch.nan)


def _hermite(x: Float[Tensor, " n"]) -> Iterator[Float[Tensor, "K n"]]:
    """Yield h_0, h_1, ... at x: sqrt(n + 1) h_(n+1) = x h_n - sqrt(n) h_(n-1).

    h_n oscillates like cos(sqrt(n) x): beyond n = (pi / step)^2 the nodes do not see it.
    """
    at = x.numpy(force=True)
    before, now = np.zeros_like(at), np.ones_like(at)
    for start in range(0, min(MOST_TERMS, int((math.pi / (at[1] - at[0])) ** 2)), TERMS):
        rows = np.empty((TERMS, len(at)))
        for n in range(start, start + TERMS):
            rows[n - start] = now
            before, now = now, (at * now - math.sqrt(n) * before) / math.sqrt(n + 1)
        yield torch.from_numpy(rows).to(x.device)
