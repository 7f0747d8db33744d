"""Quadrature rules for Gaussian integrals over [-reach, reach], and how fine they must be.

An integrand that is analytic everywhere is summed by the trapezoidal rule, which then converges
geometrically (Trefethen & Weideman 2014, SIAM Review 56(3), thm 5.1: error exp(-2 pi d / h), d the
distance of the nearest pole). Between kinks, Gauss-Legendre. In both cases the number of nodes is
not a guess: it grows until two rules agree.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

AGREEMENT = 2e-14
"""Two rules that differ by less, relative to the scale of the integral, are both right."""

REACHES = (8.5, 10.0, 12.0, 14.0, 17.0, 20.0, 25.0, 30.0)
TAIL = 1e-17
"""Share of E[phi^2] that may lie outside the reach."""

Function = Callable[[Tensor], Tensor]


@cache
def _legendre(count: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return nodes and weights on [0, 1], right to the last digit or two.

    Those of numpy and scipy have lost two digits at 70 nodes; a Newton step in extended precision
    brings them back.
    """
    x: np.ndarray = np.polynomial.legendre.leggauss(count)[0].astype(np.longdouble)
    for _ in range(2):
        before, value = np.ones_like(x), x
        for n in range(2, count + 1):
            before, value = value, ((2 * n - 1) * x * value - (n - 1) * before) / n
        slope = count * (before - x * value) / (1 - x * x)
        x = x - value / slope
    weights = 1 / ((1 - x * x) * slope * slope)  # half of those on [-1, 1]
    nodes = (x + 1) / 2
    return torch.from_numpy(nodes.astype(float)), torch.from_numpy(weights.astype(float))


def density(x: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Return exp(-x^2 / 2) / sqrt(2 pi)."""
    return torch.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def trapezoidal(
    count: int, reach: float, device: torch.device
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return nodes, and weights that hold the density."""
    x = torch.linspace(-reach, reach, count, dtype=torch.float64, device=device)
    return x, density(x) * (2 * reach / (count - 1))


def piecewise(
    breaks: Float[Tensor, "*S K"], count: int, reach: float
) -> tuple[Float[Tensor, "*S n"], Float[Tensor, "*S n"]]:
    """Return `count` nodes between every two breaks, and weights that hold the density.

    Args:
        breaks: In any order; those out of reach cost nodes but no accuracy.
        count: Nodes a piece.
        reach: The first piece begins at -reach, the last one ends there.
    """
    ends = torch.full_like(breaks[..., :1], reach)
    breaks = torch.cat([-ends, breaks.clamp(-reach, reach).sort(dim=-1).values, ends], dim=-1)
    lengths = breaks.diff(dim=-1)[..., None]  # (*S, K + 1, 1)
    nodes, weights = (part.to(breaks.device) for part in _legendre(count))
    x = (breaks[..., :-1, None] + lengths * nodes).flatten(-2)
    return x, (lengths * weights).flatten(-2) * density(x)


def settled(
    rule: Callable[[int], Float[Tensor, "*S"]],
    counts: Sequence[int],
    scale: Float[Tensor, "*S"],
    name: str,
) -> int:
    """Return the first count whose rule agrees with the next.

    Raises:
        RuntimeError: None does.
    """
    found = rule(counts[0])
    for count, finer in pairwise(counts):
        previous, found = found, rule(finer)
        if bool(((found - previous).abs() <= AGREEMENT * scale).all()):
            return count
    gaps = ((found - previous).abs() / scale)[scale > 0]
    gap = float(gaps.max()) if len(gaps) else math.inf
    raise RuntimeError(
        f"Gaussian integrals of {name} are not resolved: {counts[-1]} nodes still change them by "
        f"{gap:.1e}; it is too steep for these variances, has a kink that was not named, or "
        "changes by little more than its rounding over them"
    )


def reach_of(phi: Function, largest: float, smallest: float, name: str) -> float:
    """Return where the integrals of phi(sqrt(a) xi)^2 may be cut off, for a in a range.

    Raises:
        RuntimeError: phi grows too fast.
    """
    sigmas = torch.tensor([[largest], [smallest]], dtype=torch.float64).sqrt()
    for reach in REACHES:
        x = torch.linspace(0, reach + 4, 400, dtype=torch.float64)
        squares = (phi(sigmas * x) ** 2 + phi(-sigmas * x) ** 2) * density(x)
        tail, total = torch.where(x > reach, squares, 0).sum(dim=1), squares.sum(dim=1)
        if bool(((tail <= TAIL * total) & total.isfinite()).all()):
            return reach
    raise RuntimeError(
        f"{name} grows too fast for a Gaussian of variance {largest:g}: its square has mass "
        f"beyond {REACHES[-1]:g} standard deviations"
    )
