"""Which rows of a batch f couples."""

from dataclasses import dataclass

import torch

from deqlab.diagnosis.subject import Problem
from deqlab.gradients.coupling import ROUNDING, couples_rows

LOOKED_AT = 16
"""Rows that are moved one by one, to see which others feel it."""


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """What depends on what.

    Attributes:
        coupled: Whether f couples rows.
        pairs: (moved, felt): f of the second row changes with the first; of the rows that were
            moved, the first few.
        moved: How many were.
    """

    coupled: bool
    pairs: tuple[tuple[int, int], ...] = ()
    moved: int = 0


def coupling(problem: Problem) -> Coupling:
    """Ask at the start, and at a random point beside it."""
    z = problem.z0
    random = torch.Generator().manual_seed(0)
    size = problem.at(z).abs().nan_to_num(0, 0, 0).mean()
    noise = torch.randn(z.shape, generator=random, dtype=torch.float64).to(z)
    beside = z + torch.where(size > 0, size, 1.0) * noise
    if not any(couples_rows(problem.map, point) for point in (z, beside)):
        return Coupling(coupled=False)
    moved = min(len(z), LOOKED_AT)
    pairs = [pair for i in range(moved) for pair in _felt(problem, beside, i)]
    return Coupling(coupled=True, pairs=tuple(pairs), moved=moved)


def _felt(problem: Problem, z: torch.Tensor, row: int) -> list[tuple[int, int]]:
    """Return the pairs of a row and those that feel it."""
    other = z.clone()
    other[row] *= 2
    image = problem.at(z)
    change = (problem.at(other) - image).nan_to_num(0, 0, 0).abs().amax(dim=1)
    rounding = ROUNDING * torch.finfo(z.dtype).eps * image.nan_to_num(0, 0, 0).abs().amax(dim=1)
    felt = (change > rounding).nonzero().flatten().tolist()
    return [(row, other) for other in felt if other != row]
