"""Linear regions of any function of one variable, counted from samples: at least so many.

The slope at a point is that of its region, so that neighbouring points with different slopes are in
different regions; what lies between them is cut in two, again and again, to find regions there. A
region between two points of one slope is not seen: the count is a lower bound, and reaches the
number where all regions are wider than the distance of the points.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.expressivity.pieces import check_interval, narrowest

OFFSET, CUT = (3 - 5**0.5) / 2, 2**0.5 - 1
"""Where samples lie in their cells, and where cells are cut. At a kink there is no slope; kinks of
weights that are written down lie at rational places, which these two never meet."""


def sampled_regions(
    f: Callable[[Tensor], Tensor],
    low: float,
    high: float,
    *,
    num_points: int = 10_000,
    rounds: int = 20,
    tolerance: float = 1e-6,
) -> int:
    """Return how many linear regions of f on [low, high] samples tell apart.

    Args:
        f: Maps (n, 1) to (n, 1) in float64, row by row, differentiably: a piecewise-linear network.
            Slopes must be right to `tolerance`: a DEQ needs tight solves, forward and backward.
        low: Start of the interval.
        high: Its end.
        num_points: Points to start with, at least 2; evenly spaced, off any dyadic grid.
        rounds: Cuts between points with different slopes, 0 or more.
        tolerance: Slopes that differ by no more, relative to the largest, are one.

    Raises:
        ValueError: The interval is empty, a number out of its domain, or a slope not finite.

    Example:
        >>> sampled_regions(torch.abs, -1.0, 1.0)
        2
    """
    check_interval(low, high)
    if num_points < 2 or rounds < 0 or not 0 <= tolerance < 1:
        raise ValueError(
            "num_points must be at least 2, rounds at least 0 and tolerance in [0, 1), got "
            f"{num_points}, {rounds} and {tolerance}"
        )
    fractions = (torch.arange(num_points, dtype=torch.float64) + OFFSET) / num_points
    x = low + (high - low) * fractions
    slopes, least = _slopes(f, x), narrowest(low, high)
    for _ in range(rounds):
        between = _differ(slopes, tolerance) & (x.diff() > least)
        middle = (x[:-1] + CUT * x.diff())[between]
        if not len(middle):
            break
        x, order = torch.cat([x, middle]).sort()
        slopes = torch.cat([slopes, _slopes(f, middle)])[order]
    return 1 + int(_differ(slopes, tolerance).sum())


def _differ(slopes: Float64[Tensor, " n"], tolerance: float) -> Tensor:
    return slopes.diff().abs() > tolerance * slopes.abs().max()


def _slopes(f: Callable[[Tensor], Tensor], x: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    leaf = x[:, None].clone().requires_grad_()
    with torch.enable_grad():
        y = f(leaf)
    if y.shape != leaf.shape:
        raise ValueError(f"f must map (n, 1) to (n, 1): {tuple(leaf.shape)} became {(*y.shape,)}")
    if not y.requires_grad:
        return torch.zeros_like(x)
    (slopes,) = torch.autograd.grad(y.sum(), leaf, allow_unused=True, materialize_grads=True)
    if not slopes.isfinite().all():
        raise ValueError(f"the slope of f at x = {x[~slopes[:, 0].isfinite()][0]:g} is not finite")
    return slopes[:, 0]
