"""Points of each sample, told apart."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SAME = 1e-2
"""Two points are one that are as near as this to each other, relative to their size: they are
solved to rounding, and where 1 - J is ill conditioned that leaves some error."""


class Places:
    """The distinct points of each sample, in the order in which they were found.

    Args:
        like: A state, (B, D).
        size: Its size, sample by sample, beside which a tiny point is zero.
        same: How near, relative to their size, two points are one.
    """

    def __init__(
        self, like: Float[Tensor, "B D"], size: Float[Tensor, " B"], *, same: float
    ) -> None:
        self.size, self.same = size, same
        self.count = torch.zeros(len(size), dtype=torch.long, device=size.device)
        self._slots: list[Tensor] = []
        self._nothing = torch.full_like(like, torch.nan)

    def add(self, points: Float[Tensor, "B D"], sound: Bool[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Enter points; return which of its sample's each of them is, -1 where it is not sound."""
        place = torch.full_like(self.count, -1)
        for number, known in enumerate(self._slots):
            far = torch.linalg.vector_norm(known - points, dim=1)
            same = sound & (place < 0) & (far <= self.same * self._scale(points))
            place = torch.where(same, number, place)
        new = sound & (place < 0)
        for number in self.count[new].unique().tolist():
            here = new & (self.count == number)
            if number == len(self._slots):
                self._slots.append(self._nothing)
            self._slots[number] = torch.where(here[:, None], points, self._slots[number])
            place = torch.where(here, number, place)
        self.count = self.count + new
        return place

    def _scale(self, points: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        # What is tiny beside the starts is zero, and no point of its own.
        return torch.maximum(torch.linalg.vector_norm(points, dim=1), 1e-3 * self.size)

    def points(self) -> Float[Tensor, "R B D"]:
        """Return them, nan where a sample has fewer."""
        if not self._slots:
            return self._nothing.new_empty(0, *self._nothing.shape)
        return torch.stack(self._slots)
