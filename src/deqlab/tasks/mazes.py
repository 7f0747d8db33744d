"""Mazes as pictures, and the way through them as a mask.

A maze of size n is a spanning tree of the lattice of n x n cells, from a randomised depth-first
search that begins at the start: it enters a neighbour that it has not visited, drawn uniformly,
and goes back where there is none. The picture has 2n + 1 pixels a side; cell (r, c) is the pixel
(2r + 1, 2c + 1), the pixel between two neighbours is free if the tree joins them, and all others
are walls. In a tree exactly one path leads from the start to the end, so it is the shortest.

    wall (0, 0, 0)    free (1, 1, 1)    start (0, 1, 0)    end (1, 0, 0)      red, green, blue

Source: Schwarzschild et al. (2021), "Can You Learn an Algorithm? Generalizing from Easy to Hard
Problems with Recurrent Networks", arXiv:2106.04537, and the program that made their mazes, with
these colours and pairs of start and end. There, a maze of n x n cells is said to have the size
2n - 1, its pixels are squares of 2 x 2, and a wall of one pixel surrounds it: `as_published`.
"""

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import pad

from deqlab.arguments import check_count, check_whole

SMALLEST = 2
"""Cells a side of the smallest maze: its start and end differ."""

_BLOCK = 1024  # mazes made at once, to bound the memory


def sample(
    num_samples: int, *, size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "N 3 H W"], Int64[Tensor, "N H W"]]:
    """Draw mazes, and return their pictures with the paths from start to end.

    Start and end are two different cells, each such pair with the same probability.

    Args:
        num_samples: N, at least 1.
        size: n, the cells a side, at least 2. H and W are 2n + 1.
        generator: The source of randomness; the mazes live on its device.

    Returns:
        Pictures in float32, and the class of each pixel: 1 on the path, with its start and end,
        and 0 elsewhere.

    Raises:
        TypeError: A number is not whole.
        ValueError: A number is too small.

    Example:
        >>> pictures, paths = sample(3, size=5, generator=torch.Generator())
        >>> pictures.shape, paths.shape
        (torch.Size([3, 3, 11, 11]), torch.Size([3, 11, 11]))
    """
    check_count("num_samples", num_samples)
    check_whole("size", size)
    if size < SMALLEST:
        raise ValueError(
            f"size must be at least {SMALLEST} cells a side, got {size}: start and end are "
            "different cells"
        )
    sizes = [min(_BLOCK, num_samples - done) for done in range(0, num_samples, _BLOCK)]
    pictures, paths = zip(*(_block(number, size, generator) for number in sizes), strict=True)
    return torch.cat(pictures), torch.cat(paths)


def as_published(pictures: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*larger"]:
    """Return pictures or paths with pixels of 2 x 2 and a wall of one pixel around them.

    A side of 2n + 1 pixels becomes one of 4n + 4: 24 for 5 x 5 cells, and 32 for 7 x 7.

    Args:
        pictures: Pictures or paths, with height and width last.

    Raises:
        ValueError: They have fewer than two dimensions.
    """
    if pictures.ndim < 2:
        raise ValueError(
            f"pictures must have a height and a width last, got shape {tuple(pictures.shape)}"
        )
    larger = pictures.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
    return pad(larger, (1, 1, 1, 1))


def _block(
    number: int, size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "N 3 H W"], Int64[Tensor, "N H W"]]:
    device = generator.device
    cells = _cells(size, device)
    start = torch.randint(len(cells), (number,), generator=generator, device=device)
    away = torch.randint(1, len(cells), (number,), generator=generator, device=device)
    start, end = cells[start], cells[(start + away) % len(cells)]
    parent = _spanning_trees(start, size, generator)
    free = torch.zeros_like(parent, dtype=torch.bool)
    free[:, cells] = True
    free.scatter_(1, (cells + parent[:, cells]) // 2, value=True)
    rows = torch.arange(number, device=device)
    red, green, blue = free.clone(), free.clone(), free
    red[rows, start] = green[rows, end] = False
    blue[rows, start] = blue[rows, end] = False
    picture = torch.stack([red, green, blue], dim=1).float()
    return _cropped(picture, size), _cropped(_paths(parent, end, size).long(), size)


def _spanning_trees(
    start: Int64[Tensor, " N"], size: int, generator: torch.Generator
) -> Int64[Tensor, "N pixels"]:
    """Return from which cell a depth-first search first entered each cell; the start from itself.

    Pixels are numbered as in `_cells`. All mazes take the same number of steps, because a search
    that visits every cell and returns passes each of the n^2 - 1 edges of its tree twice.
    """
    side = _side(size)
    rows = torch.arange(len(start), device=start.device)
    unvisited = torch.zeros(len(start), side * side, dtype=torch.bool, device=start.device)
    unvisited[:, _cells(size, start.device)] = True
    unvisited[rows, start] = False
    parent = torch.zeros(len(start), side * side, dtype=torch.int64, device=start.device)
    parent[rows, start] = start
    neighbours = torch.tensor([-2 * side, 2 * side, -2, 2], device=start.device)
    here = start
    for _ in range(2 * (size**2 - 1)):
        beside = here[:, None] + neighbours
        enterable = unvisited.gather(1, beside)
        order = torch.rand(beside.shape, generator=generator, device=start.device)
        chosen = (order + enterable).argmax(dim=1, keepdim=True)  # those that are not stay below 1
        onward = enterable.any(dim=1)
        there = torch.where(onward, beside.gather(1, chosen)[:, 0], parent[rows, here])
        parent[rows, there] = torch.where(onward, here, parent[rows, there])
        unvisited[rows, there] = False
        here = there
    return parent


def _paths(
    parent: Int64[Tensor, "N pixels"], end: Int64[Tensor, " N"], size: int
) -> Bool[Tensor, "N pixels"]:
    """Return the pixels from each end up its tree to the start."""
    rows = torch.arange(len(end), device=end.device)
    path = torch.zeros_like(parent, dtype=torch.bool)
    here = end
    path[rows, here] = True
    for _ in range(size**2 - 1):  # no path is longer, and who has arrived stays
        above = parent[rows, here]
        path[rows, (here + above) // 2] = True
        path[rows, above] = True
        here = above
    return path


def _side(size: int) -> int:
    """Return the pixels a side of a picture with a margin of one, so that neighbours exist."""
    return 2 * size + 3


def _cells(size: int, device: torch.device) -> Int64[Tensor, " cells"]:
    """Return the numbers of the cells among the pixels of a picture with its margin."""
    lines = 2 * torch.arange(1, size + 1, device=device)
    return (lines[:, None] * _side(size) + lines).flatten()


def _cropped(pixels: Shaped[Tensor, "*N pixels"], size: int) -> Shaped[Tensor, "*N side side"]:
    side = _side(size)
    return pixels.view(*pixels.shape[:-1], side, side)[..., 1:-1, 1:-1].contiguous()
