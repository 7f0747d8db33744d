"""Kernels of pairs: functions of |x|^2, |y|^2 and x'y, filled into a matrix a block at a time.

Every kernel of a wide network whose first layer is a Gaussian matrix is of this kind.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

PairFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(|x|^2, |y|^2, x'y) -> k(x, y): float64 tensors that broadcast."""

BLOCK = 2**17
"""Entries in a block: the few tensors of its size, 1 MB each, stay in cache."""


def gram(
    function: PairFunction,
    x: Float[Tensor, "n p"],
    y: Float[Tensor, "m p"] | None = None,
    *,
    progress: bool = False,
) -> Float[Tensor, "n m"]:
    """Return the matrix of k(x_i, y_j); of x with itself if y is None.

    Beside the result it takes a few blocks of memory; of a symmetric matrix one triangle is
    computed.
    """
    symmetric = y is None
    other = x if y is None else y
    result = x.new_empty(len(x), len(other))
    squares, other_squares = (x * x).sum(dim=1), (other * other).sum(dim=1)
    rounding = 4 * torch.finfo(x.dtype).eps * x.shape[1] ** 0.5  # of an inner product
    blocks = list(_blocks(len(x), len(other), symmetric=symmetric))
    for rows, columns in _watched(blocks, progress):
        inner = x[rows] @ other[columns].T
        a, b = squares[rows, None], other_squares[None, columns]
        # Of a point with itself, and of two that are one, the three numbers agree to the last
        # digit: slopes of kinked activations turn a rounding error into its root.
        inner = torch.where((a == b) & (inner >= a * (1 - rounding)), a, inner)
        block = function(a, b, clamped(inner, a, b))  # rounding may put a cosine above 1
        if symmetric and rows.start == columns.start:
            block = (block + block.T) / 2
        result[rows, columns] = block
        if symmetric:
            result[columns, rows] = block.T
    return result


def _blocks(n: int, m: int, *, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    height = max(1, min(n, round(BLOCK**0.5)))
    width = height if symmetric else max(1, BLOCK // height)
    for top in range(0, n, height):
        for left in range(top if symmetric else 0, m, width):
            yield slice(top, min(n, top + height)), slice(left, min(m, left + width))


def _watched(blocks: list[tuple[slice, slice]], progress: bool) -> Iterable[tuple[slice, slice]]:
    if not progress:
        return blocks
    from rich.progress import track

    return track(blocks, description="kernel", transient=True)


def clamped(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return c where a covariance of variances a and b can be it, else the nearest."""
    limit = torch.where(a == b, a, torch.sqrt(a) * torch.sqrt(b))  # sqrt(a)^2 is not quite a
    return torch.minimum(torch.maximum(c, -limit), limit)
