"""How the resolutions of a multiscale state exchange: towards coarser and towards finer maps.

From a finer map j to a coarser one i goes a chain of i - j convolutions of 3 x 3 pixels and stride
2, with rectifiers in between; all but the last keep the channels of j. From a coarser one goes a
1 x 1 convolution, whose pixels are repeated. Source: Bai, Koltun & Kolter (2020), "Multiscale Deep
Equilibrium Models", Figure 2, where all pairs exchange and each convolution is normalised.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from deqlab.nn.cells.filters import Filters, Shape
from deqlab.stability.convolutions import convolution_bound

Maps = tuple[Tensor, ...]
"""One feature map a resolution, the finest first."""

Reach: TypeAlias = Literal["neighbours", "all"]
"""Which pairs of resolutions exchange directly."""

Size: TypeAlias = tuple[int, int]

Chains: TypeAlias = list[list[list[Tensor]]]
"""For each map, and each that it may hear of, the filters on the way; none between strangers."""


def check_reach(reach: str) -> None:
    """Raise ValueError unless `reach` is one of its two words."""
    if reach not in get_args(Reach):
        raise ValueError(f'exchange must be "neighbours" or "all", got {reach!r}')


def neighbours(channels: Sequence[int], sizes: Sequence[Size] | None) -> tuple[Filters, Filters]:
    """Return the filters between neighbours: to the coarser one of each pair, and to the finer."""
    down = [(d, c, 3) for c, d in pairwise(channels)]
    up = [(c, d, 1) for c, d in pairwise(channels)]
    # The norm of a 1 x 1 convolution is the same at every size.
    return (
        Filters(down, None if sizes is None else sizes[:-1], stride=2),
        Filters(up, None if sizes is None else [(1, 1)] * len(up)),
    )


def distant(channels: Sequence[int], sizes: Sequence[Size] | None) -> tuple[Filters, Filters]:
    """Return the filters between all others, pair by pair, the chain of each one after another."""
    down: list[Shape] = []
    places: list[Size] = []
    up: list[Shape] = []
    for fine, coarse in _distant_pairs(len(channels)):
        c, d = channels[fine], channels[coarse]
        down += [(c, c, 3)] * (coarse - fine - 1) + [(d, c, 3)]
        up.append((c, d, 1))
        if sizes is not None:
            places += sizes[fine:coarse]
    return (
        Filters(down, None if sizes is None else places, stride=2),
        Filters(up, None if sizes is None else [(1, 1)] * len(up)),
    )


def chains(
    num_maps: int,
    near: tuple[Sequence[Tensor], Sequence[Tensor]],
    far: tuple[Sequence[Tensor], Sequence[Tensor]] | None,
) -> Chains:
    """Return which filters lead from where to where.

    Args:
        num_maps: Resolutions.
        near: Filters as `neighbours` has them, down and up.
        far: Filters as `distant` has them; None where only neighbours exchange.
    """
    into: Chains = [[[] for _ in range(num_maps)] for _ in range(num_maps)]
    for fine, (down, up) in enumerate(zip(*near, strict=True)):
        into[fine + 1][fine], into[fine][fine + 1] = [down], [up]
    if far is not None:
        downwards, upwards = iter(far[0]), iter(far[1])
        for fine, coarse in _distant_pairs(num_maps):
            into[coarse][fine] = [next(downwards) for _ in range(coarse - fine)]
            into[fine][coarse] = [next(upwards)]
    return into


def exchanged(maps: Sequence[Tensor], into: Chains, target: int) -> Tensor:
    """Return a map with what it hears of the others."""
    total = maps[target]
    for source, chain in enumerate(into[target]):
        if not chain:
            continue
        heard = maps[source]
        if source < target:
            for i, filters in enumerate(chain):
                heard = conv2d(heard.relu_() if i else heard, filters, stride=2, padding=1)
        else:
            heard = interpolate(conv2d(heard, chain[0]), scale_factor=2.0 ** (source - target))
        total = total + heard
    return total


def exchange_bounds(into: Chains, sizes: Sequence[Size] | None) -> Tensor:
    """Return M, (n, n) in float64: M_ij bounds by how much map i moves if map j moves by 1."""
    n = len(into)
    bounds = torch.eye(n, dtype=torch.float64)
    for target in range(n):
        for source, chain in enumerate(into[target]):
            if not chain:
                continue
            # A pixel that is repeated 2^k times each way has 2^k times its norm.
            bound = 2.0 ** max(source - target, 0)
            for i, filters in enumerate(chain):
                size = None if sizes is None else sizes[min(source + i, n - 1)]
                stride = 2 if source < target else 1
                bound *= convolution_bound(filters, size, stride=stride)
            bounds[target, source] = bound
    return bounds


def _distant_pairs(n: int) -> list[tuple[int, int]]:
    return [(fine, coarse) for fine in range(n) for coarse in range(fine + 2, n)]
