"""f as a method sees it: every evaluation is counted."""

import numpy as np
import torch
from torch import Tensor

from deqlab.maps.matrix_map import MatrixMap
from deqlab.solvers.loop.compaction import take_rows
from deqlab.solvers.loop.criterion import Look


class Map:
    """f during one solve.

    Attributes:
        f: The map itself, for methods that need its structure.
        evaluations: How often it was called.
        products: Products with its Jacobian that a method took beside; the method counts them.
        running: (B,) bool, the rows that still look for an answer.
        taped: Whether a tape records the steps.
        look: The verdict's measures of the last iterate.
        weights: (B, D), what brings blocks of different scales to one; None for one block.
        resting: (B,) bool, the rows with blocks whose scale is not known yet; None for no row.
        last: f once more, for an evaluation that is expected to be the last; None if that makes
            no difference.
    """

    def __init__(
        self,
        f: MatrixMap,
        running: np.ndarray,
        *,
        taped: bool = False,
        last: MatrixMap | None = None,
    ) -> None:
        self.f = f
        self.last = last
        self.running = running
        self.taped = taped
        self.weights: Tensor | None = None
        self.resting: np.ndarray | None = None
        self.look: Look | None = None
        self.evaluations = 0
        self.products = 0

    def part(self, rows: np.ndarray, z: Tensor) -> "Map":
        """Return the map on some rows, while the others stay at z."""
        index = torch.from_numpy(rows).to(z.device)
        part = Map(
            lambda some: self.f(z.index_copy(0, index, some))[index],
            self.running[rows],
            taped=self.taped,
        )
        part.look = None if self.look is None else take_rows(self.look, rows)
        part.weights = None if self.weights is None else self.weights[index]
        part.resting = None if self.resting is None else self.resting[rows]
        part.evaluations, part.products = self.evaluations, self.products
        return part

    def restrict(self, f: MatrixMap, rows: np.ndarray) -> None:
        """Go on with these rows, on which f is that map."""
        self.f, self.last = f, None
        if self.weights is not None:
            self.weights = self.weights[torch.from_numpy(rows).to(self.weights.device)]
        if self.resting is not None:
            self.resting = self.resting[rows]

    def __call__(self, z: Tensor, *, ends: bool = False) -> Tensor:
        """Return f(z); `ends` if this is expected to be the last evaluation."""
        self.evaluations += 1
        return self.last(z) if ends and self.last is not None else self.f(z)
