"""Measures the iterates of one eager solve, by the criterion of `criterion`, on the host.

Norms are summed fast, in the precision of the state. They are summed once more, and exactly, where
the first sums may be wrong or tell too little: where squares overflow or vanish, where f(z) is far
beyond the start, and where a block started at rest.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.linalg.arrays import Array, known_none
from deqlab.linalg.norms import block_norms, residual_norms, sure_above
from deqlab.solvers.loop.block_weights import weights
from deqlab.solvers.loop.compaction import take_rows
from deqlab.solvers.loop.criterion import (
    Bounds,
    Look,
    Rules,
    Scales,
    bounds_of,
    compare,
    limited,
    look,
    scales_at_start,
)

EVERYWHERE = np.True_


class Measuring:
    """The scales of the rows in the loop, and what follows from them.

    Attributes:
        rules: The settings of the solver.
        blocks: The columns of each block.
        scales: The scale of each block of each row; from the first iterate on.
        bounds: What follows from it; from the first iterate on.
        sure: (B,) bool, where the sums of the last look were right.
        weights: (B, D), what brings blocks of different scales to one; None for one block.
    """

    scales: Scales
    bounds: Bounds
    sure: Array
    weights: Tensor | None = None

    def __init__(self, rules: Rules, blocks: Sequence[int]) -> None:
        self.rules, self.blocks = rules, blocks
        self._begun = False
        self._doubtful: Array | float  # residuals up to it are summed exactly

    def look(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
        """Measure an iterate by norms that are summed fast."""
        residuals, sizes = residual_norms(fz, z, self.blocks)
        if not self._begun:
            self._begin(z, fz, sizes)
        sure = np.logical_and(sizes <= self.bounds.cap, residuals > self._doubtful)
        single = sure.shape[1] == 1
        self.sure = sure.ravel() if single else np.logical_and.reduce(sure, axis=1)
        return compare(residuals, sizes, self.bounds, self.rules)

    def look_closely(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
        """Measure an iterate by norms that are right at every scale."""
        residuals, sizes = self.distances(fz, z), block_norms(fz, self.blocks)
        self.scales, self.bounds, found = look(
            self.scales, self.bounds, residuals, sizes, self.rules
        )
        self.sure = EVERYWHERE
        if found.woken is None:
            return found
        if known_none(found.woken):
            return found._replace(woken=None)
        self.weights = weights(self.scales.start, z, self.blocks)
        return found

    def distances(
        self, z: Float[Tensor, "B D"], other: Float[Tensor, "B D"]
    ) -> Float[np.ndarray, "B K"]:
        """Return how far two points are from each other in each block."""
        return block_norms(z.detach() - other.detach(), self.blocks)

    def limit(self, rows: Bool[np.ndarray, " B"], to: Float[np.ndarray, "B K"]) -> None:
        """Hold these rows to this residual in each block as well."""
        self.bounds = limited(self.bounds, rows, to)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        self.scales, self.bounds = take_rows((self.scales, self.bounds), rows)
        kept = take_rows((self.sure, self.weights, self._doubtful), rows)
        self.sure, self.weights, self._doubtful = kept

    def _begin(self, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], sizes: Array) -> None:
        """Take the scale of each block from the start, given |f(z0)| as it was summed fast."""
        self._begun, self._doubtful = True, sure_above(z.dtype)
        if not ((sizes > self._doubtful) & (sizes < np.inf)).all():
            sizes = block_norms(fz, self.blocks)
        start, reach, late = scales_at_start(block_norms(z, self.blocks), sizes)
        if late is None or known_none(late):
            late = None
        else:
            self._doubtful = np.where(late, np.inf, self._doubtful)
        self.scales = Scales(start, reach, late)
        self.bounds = bounds_of(self.scales, self.rules)
        self.weights = weights(self.scales.start, z, self.blocks)
