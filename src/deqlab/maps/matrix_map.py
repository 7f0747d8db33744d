"""Maps from one (B, D) matrix to another, row to row: the kinds that the layers below hand on.

f(z, *args) is what a gradient needs, f(z) what a solver evaluates.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor

MatrixMap: TypeAlias = Callable[[Tensor], Tensor]
"""z -> f(z); it must not write to its argument."""

MapWithArgs: TypeAlias = Callable[..., Tensor]
"""(z, *args) -> f(z, *args)."""

Narrow: TypeAlias = Callable[[Tensor], MatrixMap]
"""Indices of rows -> the map on these rows alone."""


class Bound:
    """The map f(., *args) for given args.

    Attributes:
        origin: The caller's own f, if f does no more than call it on the same matrices; methods
            that need the structure of a map look for it here.
        args: The args.
    """

    def __init__(self, f: MapWithArgs, args: Sequence[object]) -> None:
        self.f, self.args = f, tuple(args)
        self.origin: object = getattr(f, "origin", f)

    def __call__(self, z: Tensor) -> Tensor:
        """Return f(z, *args)."""
        return self.f(z, *self.args)
