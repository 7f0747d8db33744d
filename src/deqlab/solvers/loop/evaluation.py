"""What a method takes a step from: an iterate, and the map, whose evaluations are counted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deqlab.linalg.arrays import Array
from deqlab.maps.matrix_map import Bound, MatrixMap
from deqlab.solvers.loop.compaction import take_rows
from deqlab.solvers.loop.criterion import Look


class Iterate(NamedTuple):
    """Where every row is, and what is known of it there."""

    z: Tensor  # (B, D)
    fz: Tensor  # (B, D), f(z)
    running: Array  # (B,) bool, the rows that still look for an answer
    look: Look | None = None  # its residual and what that may be; None before it is judged
    weights: Tensor | None = None  # (B, D), brings blocks of different scales to one; None for one
    resting: Array | None = None  # (B,) bool, rows with blocks whose scale is not known yet
    # On a device: what a method tells that has looked at `running`, and what the host knows of what
    # the method `asks`, if it has looked since the last step.
    tell: Callable[[np.ndarray], None] | None = None
    told: np.ndarray | None = None

    def take_rows(self, rows: np.ndarray) -> "Iterate":
        """Return the iterate of these rows alone."""
        cut: Any = take_rows(tuple(self), rows)
        return Iterate(*cut)


class Counts:
    """What a solve has taken so far.

    Attributes:
        evaluations: Calls of f.
        products: Products with its Jacobian that a method took beside; the method counts them.
    """

    evaluations = 0
    products = 0


class CountedMap:
    """f during one solve.

    Attributes:
        f: The map itself, for methods that need its structure.
        taped: Whether a tape records the steps.
        last: f once more, for an evaluation that is expected to be the last; None if that makes
            no difference.
        counts: What was counted, also by the maps on some rows that were made of this one.
    """

    def __init__(
        self,
        f: MatrixMap,
        *,
        taped: bool = False,
        last: MatrixMap | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.f, self.taped, self.last = f, taped, last
        self.counts = Counts() if counts is None else counts

    def __call__(self, z: Tensor, *, ends: bool = False) -> Tensor:
        """Return f(z); `ends` if this is expected to be the last evaluation."""
        self.counts.evaluations += 1
        return self.last(z) if ends and self.last is not None else self.f(z)

    def recordable(self) -> MatrixMap:
        """Return f as a tape can record it, also in inference mode.

        No tape can hold a tensor that was made in inference mode: such args are copied.
        """
        bound = self.f
        if not torch.is_inference_mode_enabled() or not isinstance(bound, Bound):
            return self
        with torch.inference_mode(mode=False):
            args = [
                arg.clone() if isinstance(arg, Tensor) and arg.is_inference() else arg
                for arg in bound.args
            ]
        return CountedMap(Bound(bound.f, args), taped=self.taped, counts=self.counts)

    def part(self, rows: np.ndarray, z: Tensor) -> "CountedMap":
        """Return the map on some rows, while the others stay at z."""
        index = torch.from_numpy(rows).to(z.device)
        return CountedMap(
            lambda some: self.f(z.index_copy(0, index, some))[index],
            taped=self.taped,
            counts=self.counts,
        )

    def restrict(self, f: MatrixMap) -> None:
        """Go on with rows on which f is that map."""
        self.f, self.last = f, None
