"""Mazes against searches on the picture alone, and against exact probabilities."""

from collections import Counter, deque
from fractions import Fraction
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.tasks import mazes

SIZES = st.integers(2, 8)


def drawn(number, size, seed=0):
    return mazes.sample(number, size=size, generator=torch.Generator().manual_seed(seed))


def places(mask):
    return {tuple(place) for place in mask.nonzero().tolist()}


def beside(place, free, *, step=1):
    row, column = place
    around = (
        (row - step, column),
        (row + step, column),
        (row, column - step),
        (row, column + step),
    )
    return [other for other in around if other in free]


def read(picture):
    """Free pixels, start and end of a picture, whose every pixel has one of the four colours."""
    colours = {(1, 1, 1): set(), (0, 1, 0): set(), (1, 0, 0): set(), (0, 0, 0): set()}
    for row in range(picture.shape[1]):
        for column in range(picture.shape[2]):
            colours[tuple(picture[:, row, column].tolist())].add((row, column))
    white, green, red, _ = colours.values()
    (start,), (end,) = green, red
    return white | green | red, start, end


def breadth_first(free, start):
    """The pixel from which each reachable pixel was first reached, and its distance."""
    before, distance, queue = {start: None}, {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for other in beside(here, free):
            if other not in before:
                before[other], distance[other] = here, distance[here] + 1
                queue.append(other)
    return before, distance


def way(before, end):
    path = [end]
    while before[path[-1]] is not None:
        path.append(before[path[-1]])
    return path


@given(SIZES, st.integers(0, 2**32))
def test_it_is_a_spanning_tree_and_the_path_is_the_shortest(size, seed):
    pictures, paths = drawn(5, size, seed)
    assert pictures.shape == (5, 3, 2 * size + 1, 2 * size + 1)
    assert paths.shape == (5, 2 * size + 1, 2 * size + 1)
    assert pictures.dtype == torch.float32
    assert paths.dtype == torch.int64
    cells = {(2 * r + 1, 2 * c + 1) for r in range(size) for c in range(size)}
    for picture, path in zip(pictures, paths, strict=True):
        free, start, end = read(picture)
        assert {start, end} <= cells <= free
        assert start != end
        # Openings lie between two cells, and a connected graph with cells - 1 of them is a tree.
        openings = free - cells
        assert len(openings) == len(cells) - 1
        assert all((row + column) % 2 == 1 for row, column in openings)
        before, distance = breadth_first(free, start)
        assert set(before) == free
        assert places(path) == set(way(before, end))
        assert set(path.unique().tolist()) == {0, 1}
        assert path.sum() == distance[end] + 1


@given(SIZES, st.integers(0, 2**32))
def test_it_is_the_tree_of_a_depth_first_search_from_the_start(size, seed):
    # A spanning tree is one exactly if each edge of the lattice joins a cell to an ancestor.
    for picture in drawn(3, size, seed)[0]:
        free, start, _ = read(picture)
        before, _ = breadth_first(free, start)
        cells = {place for place in free if place[0] % 2 == place[1] % 2 == 1}
        above = {cell: set(way(before, cell)) for cell in cells}
        for cell in cells:
            assert all(o in above[cell] or cell in above[o] for o in beside(cell, cells, step=2))


def outcomes(size):
    """Every start and tree with its exact probability, by following all choices of the search."""
    cells = frozenset((2 * r + 1, 2 * c + 1) for r in range(size) for c in range(size))

    @cache
    def search(stack, visited, openings):
        """Probabilities of the openings at the end."""
        if not stack:
            return {openings: Fraction(1)}
        here = stack[-1]
        choices = beside(here, cells - visited, step=2)
        if not choices:
            return search(stack[:-1], visited, openings)
        found = Counter()
        for there in choices:
            between = (here[0] + there[0]) // 2, (here[1] + there[1]) // 2
            rest = search((*stack, there), visited | {there}, openings | {between})
            for tree, probability in rest.items():
                found[tree] += probability / len(choices)
        return found

    every = {}
    for start in cells:
        for tree, probability in search((start,), frozenset([start]), frozenset()).items():
            every[start, tree] = probability / len(cells)
    return every


def test_trees_have_the_probabilities_of_the_search():
    expected = outcomes(3)
    assert sum(expected.values()) == 1
    number = 20_000
    found = Counter()
    for picture in drawn(number, 3)[0]:
        # Both ends are free; the end alone is not green, and the start alone is not red.
        red, green, _ = picture.int().tolist()
        free = {(r, c) for r in range(7) for c in range(7) if red[r][c] or green[r][c]}
        cells = [(r, c) for r in (1, 3, 5) for c in (1, 3, 5)]
        (start,) = (cell for cell in cells if not red[cell[0]][cell[1]])
        found[start, frozenset(free.difference(cells))] += 1
    assert set(found) <= set(expected)
    chi_squared = sum(
        (found[key] - number * float(p)) ** 2 / (number * float(p)) for key, p in expected.items()
    )
    freedom = len(expected) - 1
    assert abs(chi_squared - freedom) < 5 * (2 * freedom) ** 0.5


def test_starts_and_ends_are_uniform_pairs_and_follow_the_seed():
    pictures, paths = drawn(3600, 2)
    corners = pictures[:, :, 1::2, 1::2].flatten(2)  # (N, 3, 4)
    start, end = (1 - corners[:, 0]).argmax(dim=1), (1 - corners[:, 1]).argmax(dim=1)
    counts = Counter(zip(start.tolist(), end.tolist(), strict=True))
    # Each of 12 pairs is binomial with mean 300 and deviation 17.
    assert len(counts) == 12
    assert all(abs(count - 300) < 5 * 17 for count in counts.values())
    again, other = drawn(3600, 2), drawn(3600, 2, seed=1)
    assert torch.equal(pictures, again[0])
    assert torch.equal(paths, again[1])
    assert not torch.equal(pictures, other[0])
    assert not torch.equal(pictures[:1024], pictures[1024:2048])  # blocks of their own


def test_published_pixels_are_squares_of_two_with_a_wall_around():
    pictures, paths = drawn(2, 5)
    for small, large in (
        (pictures, mazes.as_published(pictures)),
        (paths, mazes.as_published(paths)),
    ):
        assert large.dtype == small.dtype
        assert large.shape == (*small.shape[:-2], 24, 24)
        for row in range(24):
            for column in range(24):
                inside = 0 < row < 23 and 0 < column < 23
                old = small[..., (row - 1) // 2, (column - 1) // 2] if inside else 0
                assert (large[..., row, column] == old).all()


def test_mazes_that_cannot_be_are_refused():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        mazes.sample(0, size=5, generator=generator)
    with pytest.raises(ValueError, match="size must be at least 2 cells a side, got 1"):
        mazes.sample(1, size=1, generator=generator)
    with pytest.raises(ValueError, match=r"height and a width last, got shape \(3,\)"):
        mazes.as_published(torch.zeros(3))
