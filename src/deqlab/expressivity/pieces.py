"""A piecewise-linear function of one variable as its pieces, and how many they are.

Numbers of linear regions compare what networks can represent: a function with more of them than a
network can have is out of its reach (Telgarsky 2015, arXiv:1509.08101).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

SAME = 1e-10
"""Slopes this close, relative to the largest slope, are one: kinks of units that cancel leave
rounding errors behind, of about 1e-16 for each layer or unit that they went through."""

NARROW = 16 * torch.finfo(torch.float64).eps
"""Pieces of at most this width, relative to the largest |x| of the interval, are rounding errors of
their edges."""


@dataclass(frozen=True)
class Pieces:
    """A continuous function, linear between neighbouring edges.

    Attributes:
        edges: One more than pieces, increasing: the interval, and the kinks inside it.
        slopes: The slope of each piece.
    """

    edges: Float64[Tensor, " E"]
    slopes: Float64[Tensor, " P"]

    @property
    def num_regions(self) -> int:
        """How many linear regions there are: neighbours of one slope count once."""
        return len(self.merged().slopes)

    def merged(self, *, tolerance: float = SAME) -> "Pieces":
        """Return the same function in as few pieces as it has linear regions.

        Args:
            tolerance: Largest difference of slopes, relative to the largest slope, of neighbours
                that are one region.
        """
        kinks = self.slopes.diff().abs() > tolerance * self.slopes.abs().max()
        first = torch.cat([kinks.new_ones(1), kinks])
        return Pieces(torch.cat([self.edges[:-1][first], self.edges[-1:]]), self.slopes[first])


def check_interval(low: float, high: float) -> None:
    """Raise ValueError unless low < high, both finite."""
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(f"low < high is needed, both finite, got {low} and {high}")


def narrowest(low: float, high: float) -> float:
    """Return the width of a piece below which it is a rounding error."""
    return NARROW * max(abs(low), abs(high))
