"""Sudoku of 4 x 4 against a solver by backtracking, and against the published counts."""

from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.tasks import sudoku

GRIDS = sudoku.grids()
HOUSES = [
    *([4 * i + j for j in range(4)] for i in range(4)),
    *([4 * j + i for j in range(4)] for i in range(4)),
    *([r + c + i for i in (0, 1, 4, 5)] for r in (0, 8) for c in (0, 2)),
]
PEERS = [{c for house in HOUSES if cell in house for c in house} - {cell} for cell in range(16)]
A109252 = [
    *(0, 0, 0, 0, 25728, 284160, 1041408, 2141184, 2961024, 2958336, 2204928, 1239552, 522624),
    *(161280, 34560, 4608, 288),
]
"""Puzzles with one solution by their number of clues: OEIS, by Hugo van der Sanden (2005)."""
SEEDS = st.integers(0, 2**32)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def solutions(puzzle, *, most=2):
    """Up to `most` solutions by backtracking, always in the cell with the fewest candidates."""
    digits = [1 << digit >> 1 for digit in puzzle]  # one bit each, 0 if empty
    if any(digits[c] and digits[c] == digits[peer] for c in range(16) for peer in PEERS[c]):
        return []
    found = []

    def go_on():
        open_cells = [cell for cell in range(16) if not digits[cell]]
        if not open_cells:
            found.append(tuple(digit.bit_length() for digit in digits))
            return
        left = {cell: 15 & ~sum({digits[peer] for peer in PEERS[cell]}) for cell in open_cells}
        cell = min(open_cells, key=lambda c: left[c].bit_count())
        for digit in (1, 2, 4, 8):
            if left[cell] & digit and len(found) < most:
                digits[cell] = digit
                go_on()
        digits[cell] = 0

    go_on()
    return found


def shown(grid, cells):
    return [digit if cell in cells else 0 for cell, digit in enumerate(grid)]


def test_the_grids_are_all_solutions_of_the_empty_puzzle():
    found = solutions([0] * 16, most=1000)
    assert len(found) == sudoku.NUM_GRIDS == 288
    assert set(map(tuple, GRIDS.tolist())) == set(found)
    assert sudoku.num_solutions(torch.zeros(1, 16, dtype=torch.int64)).tolist() == [288]


def test_grids_are_numbered_by_pattern_and_relabelling():
    first_rows = GRIDS.view(12, 24, 16)[:, :, :4]
    assert (first_rows[:, 0] == torch.arange(1, 5)).all()
    for orbit, rows in zip(GRIDS.view(12, 24, 16), first_rows, strict=True):
        # The first row is the permutation itself.
        relabelled = torch.stack([row[orbit[0] - 1] for row in rows])
        assert torch.equal(orbit, relabelled)
        assert rows.tolist() == sorted(rows.tolist())
    assert GRIDS[::24].tolist() == sorted(GRIDS[::24].tolist())


def test_grids_are_a_copy():
    sudoku.grids().zero_()
    assert torch.equal(sudoku.grids(), GRIDS)


def test_there_are_as_many_puzzles_of_each_size_as_published():
    _, _, count = sudoku._clue_sets()
    assert (24 * count.sum(dim=0)).tolist() == A109252


def test_three_clues_never_leave_one_solution():
    every = [shown(g, cells) for g in GRIDS[::24].tolist() for cells in combinations(range(16), 3)]
    assert (sudoku.num_solutions(torch.tensor(every)) > 1).all()
    assert all(len(solutions(puzzle)) == 2 for puzzle in every[::67])


@pytest.mark.parametrize("number", [0, 29, 287])
def test_puzzles_of_four_clues_are_all_that_have_one_solution_equally_often(number):
    grid = GRIDS[number].tolist()
    every = [tuple(shown(grid, cells)) for cells in combinations(range(16), 4)]
    right = {puzzle for puzzle in every if len(solutions(puzzle)) == 1}
    among = torch.tensor([number])
    size = 100 * len(right)
    puzzles, _ = sudoku.sample(size, generator=seeded(0), clues=(4, 4), among=among)
    counts = Counter(map(tuple, puzzles.tolist()))
    assert set(counts) == right
    # Each is about Poisson with mean 100 and deviation 10.
    assert all(abs(count - 100) < 5 * 10 for count in counts.values())


@given(SEEDS, st.integers(4, 16), st.integers(4, 16))
def test_every_puzzle_has_its_clues_and_one_solution(seed, a, b):
    clues = (min(a, b), max(a, b))
    puzzles, grids = sudoku.sample(10, generator=seeded(seed), clues=clues)
    assert puzzles.dtype == grids.dtype == torch.int64
    for puzzle, grid in zip(puzzles.tolist(), grids.tolist(), strict=True):
        assert solutions(puzzle) == [tuple(grid)]
        assert clues[0] <= sum(digit > 0 for digit in puzzle) <= clues[1]
    assert torch.equal(sudoku.solve(puzzles), grids)


@given(SEEDS, st.integers(0, 6))
def test_solutions_are_counted_as_by_backtracking(seed, size):
    # Digits at random, so that some puzzles contradict themselves.
    order = torch.rand(20, 16, generator=seeded(seed)).argsort(dim=1)
    digits = torch.randint(1, 5, (20, 16), generator=seeded(seed))
    puzzles = torch.where(order < size, digits, 0)
    expected = [len(solutions(puzzle, most=1000)) for puzzle in puzzles.tolist()]
    assert sudoku.num_solutions(puzzles).tolist() == expected


def test_grids_and_numbers_of_clues_are_uniform_and_follow_the_seed():
    puzzles, grids = sudoku.sample(28_800, generator=seeded(0))
    counts = Counter(map(tuple, grids.tolist()))
    assert len(counts) == 288
    # Each is about Poisson with mean 100 and deviation 10.
    assert all(abs(count - 100) < 5 * 10 for count in counts.values())
    sizes = (puzzles > 0).sum(dim=1).bincount()
    assert sizes[:4].sum() == 0
    assert len(sizes) == 7
    assert ((sizes[4:] - 9600).abs() < 5 * 80).all()  # binomial with deviation 80
    # More than a block, and puzzles of different grids in it.
    assert torch.equal(sudoku.solve(puzzles), grids)
    again, _ = sudoku.sample(28_800, generator=seeded(0))
    other, _ = sudoku.sample(28_800, generator=seeded(1))
    assert torch.equal(puzzles, again)
    assert not torch.equal(puzzles, other)


@pytest.mark.parametrize("whole_orbits", [False, True])
def test_no_grid_and_no_puzzle_is_on_both_sides(whole_orbits):
    train, test = sudoku.split(72, generator=seeded(0), whole_orbits=whole_orbits)
    assert len(test) == 72
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(288))
    assert torch.equal(train, train.sort().values)
    assert torch.equal(test, test.sort().values)
    drawn = [sudoku.sample(5000, generator=seeded(1), among=side) for side in (train, test)]
    (seen, seen_grids), (unseen, unseen_grids) = (
        [set(map(tuple, rows.tolist())) for rows in side] for side in drawn
    )
    assert seen_grids == set(map(tuple, GRIDS[train].tolist()))
    assert unseen_grids == set(map(tuple, GRIDS[test].tolist()))
    assert not seen & unseen
    if whole_orbits:
        # First digits in their order of appearance: the same for relabelled grids only.
        patterns = [
            {tuple(grid.index(digit) for digit in grid) for grid in side}
            for side in (seen_grids, unseen_grids)
        ]
        assert [len(side) for side in patterns] == [9, 3]
        assert not patterns[0] & patterns[1]
    again = sudoku.split(72, generator=seeded(0), whole_orbits=whole_orbits)[1]
    other = sudoku.split(72, generator=seeded(2), whole_orbits=whole_orbits)[1]
    assert torch.equal(test, again)
    assert not torch.equal(test, other)


def test_a_puzzle_without_one_solution_is_not_solved():
    puzzles = GRIDS[:3].clone()
    puzzles[1] = 0
    with pytest.raises(ValueError, match=r"1 of 3 have not: puzzle 1 has 288$"):
        sudoku.solve(puzzles)
    puzzles[1, :2] = 1
    with pytest.raises(ValueError, match=r"1 of 3 have not: puzzle 1 has 0$"):
        sudoku.solve(puzzles)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1, got 0"),
        ({"clues": (3, 6)}, ValueError, r"from 4 to 16, in this order, got \(3, 6\): fewer"),
        ({"clues": (4, 17)}, ValueError, r"got \(4, 17\)"),
        ({"clues": (6, 4)}, ValueError, r"got \(6, 4\)"),
        ({"clues": (4,)}, ValueError, r"clues must be two numbers .* got \(4,\)"),
        (
            {"among": torch.tensor([0, 288, -1])},
            ValueError,
            "0 to 287, but 2 of 3 are others, such as 288",
        ),
        ({"among": torch.tensor([], dtype=torch.int64)}, ValueError, r"one .* got shape \(0,\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings, error, sentence):
    with pytest.raises(error, match=sentence):
        sudoku.sample(**({"num_samples": 3} | settings), generator=torch.Generator())


def test_splits_and_puzzles_that_cannot_be_are_refused():
    generator = torch.Generator()
    for num_test in (0, 288):
        with pytest.raises(ValueError, match=f"num_test must be from 1 to 287.* got {num_test}"):
            sudoku.split(num_test, generator=generator)
    with pytest.raises(ValueError, match="multiple of 24 where orbits stay whole, got 30"):
        sudoku.split(30, generator=generator, whole_orbits=True)
    with pytest.raises(ValueError, match="numbers from 0 to 4, but 1 of 16 are others, such as 5"):
        sudoku.num_solutions(torch.tensor([[5] + [0] * 15]))
    with pytest.raises(ValueError, match=r"shape \(N, 16\), with N at least 1, got \(0, 16\)"):
        sudoku.num_solutions(GRIDS[:0])
