"""Sudoku of 4 x 4: every grid, and puzzles with exactly one solution.

A grid holds 1 to 4 once in each row, each column and each box of 2 x 2. There are 288 grids. A
puzzle shows some cells of a grid, its clues; its solutions are the grids that agree with them all.
So clues S of a grid g leave one solution if and only if S is within A(g, h) for no other grid h,
where A(g, h) are the cells in which g and h agree: a table of all 2^16 sets says which do.

Relabelling the digits maps grids to grids, and no grid but by the identity to itself: the grids are
12 orbits of 4! = 24. Grid number 24 p + r is pattern p, which has the first row 1 2 3 4, relabelled
by the r-th permutation; both are in lexicographic order. A set of clues leaves one solution in all
grids of an orbit or in none.

Cells are numbered along the rows, and 0 is an empty one. OEIS A107739 counts the grids, and A109252
the puzzles with one solution: 25,728 with 4 clues, and none with fewer.
"""

from collections.abc import Sequence
from functools import cache
from itertools import permutations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from deqlab.arguments import check_count, check_sequence, check_whole

NUM_GRIDS, ORBIT = 288, 24
"""How many grids there are, and how many of them are one pattern relabelled."""

FEWEST_CLUES, CELLS = 4, 16
"""The fewest clues that can leave one solution, and the most."""

_PATTERNS = NUM_GRIDS // ORBIT
_BLOCK = 2**14  # puzzles compared with all grids at once, to bound the memory


def grids() -> Int64[Tensor, "288 16"]:
    """Return every grid, in the order of its number: row k is grid number k."""
    return _grids().clone()


def split(
    num_test: int, *, generator: torch.Generator, whole_orbits: bool = False
) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " test"]]:
    """Divide the grids into those to train on and those to test on, at random.

    A puzzle has one solution, so that no puzzle of a test grid is one of a training grid. But of
    almost every test grid a relabelled copy is left to train on, and who treats digits alike has
    seen its pattern. With `whole_orbits` no test grid has its pattern in training.

    Args:
        num_test: Grids to test on, from 1 to 287; a multiple of 24 if orbits stay whole.
        generator: The source of randomness; the numbers live on its device.
        whole_orbits: Whether a grid and its relabelled copies stay together.

    Returns:
        The numbers of the training and of the test grids, each in ascending order.

    Raises:
        TypeError: `num_test` is not whole.
        ValueError: `num_test` leaves one side empty, or is no number of whole orbits.
    """
    check_whole("num_test", num_test)
    if not 1 <= num_test < NUM_GRIDS:
        raise ValueError(
            f"num_test must be from 1 to {NUM_GRIDS - 1} of the {NUM_GRIDS} grids, got {num_test}"
        )
    size = ORBIT if whole_orbits else 1
    if num_test % size:
        raise ValueError(
            f"num_test must be a multiple of {ORBIT} where orbits stay whole, got {num_test}"
        )
    order = torch.randperm(NUM_GRIDS // size, generator=generator, device=generator.device)
    members = torch.arange(size, device=generator.device)
    numbers = (order[:, None] * size + members).flatten()
    return numbers[num_test:].sort().values, numbers[:num_test].sort().values


def sample(
    num_samples: int,
    *,
    generator: torch.Generator,
    clues: Sequence[int] = (4, 6),
    among: Int64[Tensor, " g"] | None = None,
) -> tuple[Int64[Tensor, "N 16"], Int64[Tensor, "N 16"]]:
    """Draw puzzles with exactly one solution, and return them with it.

    Grids and numbers of clues are drawn uniformly, and then the clues uniformly from all sets of
    that size that leave one solution of the grid; each with replacement.

    Args:
        num_samples: N, at least 1.
        generator: The source of randomness; the puzzles live on its device.
        clues: Fewest and most clues of a puzzle, from 4 to 16.
        among: Numbers of the grids to draw from, as from `split`; None for all.

    Returns:
        Puzzles, with 0 for an empty cell, and solutions.

    Raises:
        TypeError: A number is not whole, or `among` is not int64.
        ValueError: A number is out of its domain, or there is no grid to draw from.

    Example:
        >>> puzzles, solutions = sample(5, generator=torch.Generator(), clues=(4, 4))
        >>> (puzzles != 0).sum(dim=1).tolist(), num_solutions(puzzles).tolist()
        ([4, 4, 4, 4, 4], [1, 1, 1, 1, 1])
    """
    check_count("num_samples", num_samples)
    _check_clues(clues)
    device = generator.device
    numbers = torch.arange(NUM_GRIDS) if among is None else among
    _check_among(numbers)
    numbers = numbers.to(device)
    shape = (num_samples,)
    drawn = torch.randint(len(numbers), shape, generator=generator, device=device)
    sizes = torch.randint(clues[0], clues[1] + 1, shape, generator=generator, device=device)
    solutions = _grids().to(device)[numbers[drawn]]
    sets, first, count = (table.to(device) for table in _clue_sets())
    group = numbers[drawn] // ORBIT, sizes
    share = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
    shown = _cells_of(sets[first[group] + (share * count[group]).long()])
    return torch.where(shown, solutions, 0), solutions


def num_solutions(puzzles: Int64[Tensor, "N 16"]) -> Int64[Tensor, " N"]:
    """Return how many grids agree with all clues of each puzzle.

    Args:
        puzzles: Cells from 1 to 4, and 0 where empty.

    Raises:
        TypeError: The puzzles are not int64.
        ValueError: A puzzle has not 16 cells, or a cell another number.
    """
    _check_puzzles(puzzles)
    return torch.cat([_agree(block).sum(dim=1) for block in puzzles.split(_BLOCK)])


def solve(puzzles: Int64[Tensor, "N 16"]) -> Int64[Tensor, "N 16"]:
    """Return the solution of each puzzle.

    Args:
        puzzles: Cells from 1 to 4, and 0 where empty.

    Raises:
        TypeError: The puzzles are not int64.
        ValueError: A puzzle has not 16 cells, a cell another number, or a puzzle no solution or
            several.
    """
    found = num_solutions(puzzles)
    wrong = (found != 1).nonzero()
    if len(wrong):
        raise ValueError(
            f"each puzzle must have one solution, but {len(wrong)} of {len(puzzles)} have not: "
            f"puzzle {wrong[0].item()} has {found[wrong[0]].item()}"
        )
    numbers = [_agree(block).int().argmax(dim=1) for block in puzzles.split(_BLOCK)]
    return _grids().to(puzzles.device)[torch.cat(numbers)]


def _agree(puzzles: Int64[Tensor, "N 16"]) -> Bool[Tensor, "N 288"]:
    """Return which grids agree with all clues of each puzzle."""
    digits = one_hot(puzzles, 5)[..., 1:].flatten(1)  # an empty cell is all zeros
    answers = one_hot(_grids().to(puzzles.device), 5)[..., 1:].flatten(1)
    matches = digits.float() @ answers.float().mT  # at most 16, so exact
    return matches == (puzzles != 0).sum(dim=1, keepdim=True)


@cache
def _grids() -> Int64[Tensor, "288 16"]:
    rows = torch.tensor(list(permutations((1, 2, 3, 4))))
    below = torch.cartesian_prod(*[torch.arange(len(rows))] * 3)
    candidates = torch.cat([rows[:1].expand(len(below), 4), rows[below].flatten(1)], dim=1)
    columns = candidates.view(-1, 4, 4).mT
    boxes = candidates.view(-1, 2, 2, 2, 2).transpose(2, 3).reshape(-1, 4, 4)
    right = torch.cat([columns, boxes], dim=1).sort().values == rows[0]
    patterns = candidates[right.flatten(1).all(dim=1)]
    return rows[:, patterns - 1].transpose(0, 1).reshape(NUM_GRIDS, CELLS)


@cache
def _clue_sets() -> tuple[Int64[Tensor, " sets"], Int64[Tensor, "12 17"], Int64[Tensor, "12 17"]]:
    """Return the sets of clues that leave one solution, grouped by pattern and size.

    A set is a number whose bit i is cell i. Beside the sets stand where each group begins, and how
    many sets it has.
    """
    every = torch.arange(2**CELLS)
    patterns = _grids()[::ORBIT]
    same = patterns[:, None] == _grids()  # (12, 288, 16)
    agreements = (same * 2 ** torch.arange(CELLS)).sum(dim=2)
    ambiguous = torch.zeros(_PATTERNS, len(every), dtype=torch.bool)
    ambiguous.scatter_(1, agreements, value=True)
    ambiguous[:, -1] = False  # all cells agree only with the grid itself
    for cell in range(CELLS):  # what is ambiguous stays so with one clue less
        without, with_it = ambiguous.view(_PATTERNS, -1, 2, 2**cell).unbind(dim=2)
        without |= with_it
    pattern, sets = (~ambiguous).nonzero(as_tuple=True)
    group = pattern * (CELLS + 1) + _cells_of(sets).sum(dim=1)
    count = group.bincount(minlength=_PATTERNS * (CELLS + 1))
    first = (count.cumsum(dim=0) - count).view(_PATTERNS, -1)
    return sets[group.argsort(stable=True)], first, count.view(_PATTERNS, -1)


def _cells_of(sets: Int64[Tensor, " N"]) -> Bool[Tensor, "N 16"]:
    return (sets[:, None] >> torch.arange(CELLS, device=sets.device)) & 1 == 1


def _check_clues(clues: Sequence[int]) -> None:
    check_sequence("clues", clues)
    if len(clues) != 2 or not FEWEST_CLUES <= clues[0] <= clues[1] <= CELLS:
        raise ValueError(
            f"clues must be two numbers (fewest, most) from {FEWEST_CLUES} to {CELLS}, in this "
            f"order, got {tuple(clues)}: fewer than {FEWEST_CLUES} never leave one solution"
        )


def _check_among(among: Int64[Tensor, " g"]) -> None:
    _check_numbers("among", among, NUM_GRIDS - 1)
    if among.ndim != 1 or len(among) == 0:
        raise ValueError(
            f"among must be a row of at least one number of a grid, got shape {tuple(among.shape)}"
        )


def _check_puzzles(puzzles: Int64[Tensor, "N 16"]) -> None:
    _check_numbers("puzzles", puzzles, 4)
    if puzzles.ndim != 2 or puzzles.shape[1] != CELLS or len(puzzles) == 0:
        raise ValueError(
            f"puzzles must have the shape (N, {CELLS}), with N at least 1, got "
            f"{tuple(puzzles.shape)}"
        )


def _check_numbers(name: str, numbers: Int64[Tensor, "*shape"], largest: int) -> None:
    if numbers.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {numbers.dtype}")
    other = (numbers < 0) | (numbers > largest)
    if other.any():
        raise ValueError(
            f"{name} must hold numbers from 0 to {largest}, but {int(other.sum())} of "
            f"{numbers.numel()} are others, such as {numbers[other][0].item()}"
        )
