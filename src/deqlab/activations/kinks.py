"""Where a function jumps, by bisection of every interval of a fine grid."""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.activations.rules import Function

REACH, INTERVALS = 40.0, 2**14
"""Kinks are looked for in [-REACH, REACH], at most one an interval of 0.005."""

HALVINGS = 60
"""Enough for neighbouring floats."""

JUMP = 1e-7
"""Change between neighbouring floats, relative to 1 + the value, that is a jump."""


def grid() -> Float[Tensor, " n"]:
    """Return where functions are looked at."""
    return torch.linspace(-REACH, REACH, INTERVALS + 1, dtype=torch.float64)


def find_jumps(function: Function) -> list[float]:
    """Return where a function jumps, in ascending order.

    An interval is halved towards the larger change; what is left of it after many halvings is
    the change between neighbouring floats. A jump is missed if it is smaller than the change of
    the function over 0.0025.
    """
    x = grid()
    left, right = x[:-1].clone(), x[1:].clone()
    at_left, at_right = function(left), function(right)
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        at_middle = function(middle)
        to_left = (at_middle - at_left).abs() > (at_right - at_middle).abs()
        right, at_right = (
            torch.where(to_left, middle, right),
            torch.where(to_left, at_middle, at_right),
        )
        left, at_left = torch.where(to_left, left, middle), torch.where(to_left, at_left, at_middle)
    jumps = (at_right - at_left).abs() > JUMP * (1 + torch.minimum(at_left.abs(), at_right.abs()))
    return merged([_rounded(float(place)) for place in ((left + right) / 2)[jumps]])


def merged(places: list[float]) -> list[float]:
    """Sort, and drop what is the same but for rounding."""
    kept: list[float] = []
    for place in sorted(places):
        if not kept or place - kept[-1] > 1e-12 * max(1.0, abs(place)):
            kept.append(place)
    return kept


def _rounded(place: float) -> float:
    """Return a number of at most 12 decimals if it is as near as rounding: 0.1, not 0.1 + eps."""
    near = round(place, 12)
    return near + 0.0 if abs(near - place) <= 4e-16 * max(1.0, abs(place)) else place
