"""What networks that reason are asked for: at their equilibrium, in as many steps as it takes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deqlab import DEQ, Picard
from deqlab.gradients import Implicit, Loops, Switched
from deqlab.recipes import RECIPES
from deqlab.recipes.reasoning.config import MazeConfig, PrefixConfig, SudokuConfig
from deqlab.recipes.reasoning.positions import PrefixTask
from deqlab.recipes.reasoning.sudoku import SudokuTask
from deqlab.tasks import sudoku

CONFIG = PrefixConfig(test_sizes=(3, 12), test_size=40, depths=(4, 16), starts=3)


class Parity(nn.Module):
    """The parity of all bits so far, position by position: z_i = z_(i - 1) xor x_i, as -1 and 1.

    From any start the first k positions are right after k loops, and those behind them need not be.
    """

    def initial(self, x):
        return torch.zeros_like(x)

    def forward(self, z, x):
        before = torch.cat([-torch.ones_like(z[..., :1]), z[..., :-1].sign()], dim=-1)
        return -before * x


class Reads(nn.Module):
    def __init__(self, max_steps):
        super().__init__()
        solver = Picard(rtol=1e-2, max_steps=max_steps)
        gradient = Switched(train=Loops(steps=4), use=Implicit())
        self.deq = DEQ(Parity(), solver=solver, gradient=gradient, on_failure="ignore")

    def forward(self, x):
        return torch.stack([-self.deq(x)[:, 0], self.deq(x)[:, 0]], dim=-1)


def rows(max_steps=5):
    torch.manual_seed(0)
    return list(PrefixTask(CONFIG).examined(Reads(max_steps)))


def of_kind(rows, kind):
    return [row for row in rows if row["kind"] == kind]


def test_a_cell_that_knows_the_algorithm_is_right_where_it_has_the_steps():
    found = rows()
    # Solved to the end, however few steps it trained with.
    assert [row["test_accuracy"] for row in of_kind(found, "size")] == [1, 1]
    assert [row["size"] for row in of_kind(found, "size")] == [3, 12]
    few, many = of_kind(found, "depth")
    assert (few["depth"], many["depth"]) == (4, 16)
    assert few["test_accuracy"] < 0.2
    assert few["converged"] < 0.2
    assert few["solver_accuracy"] < 0.2
    assert many["test_accuracy"] == many["solver_accuracy"] == many["converged"] == 1


def test_starts_are_compared_in_as_many_steps_as_a_test_has():
    (row,) = of_kind(rows(max_steps=5), "starts")
    assert row["same_answer"] == row["same_state"] == 1


def test_samples_are_sorted_by_how_far_they_are():
    residuals = [row["residual"] for row in of_kind(rows(), "residual")]
    assert residuals == sorted(residuals)
    assert len(residuals) == 5


def test_the_iterates_begin_at_the_start_itself():
    zero, one, *_ = of_kind(rows(), "feedback")
    assert zero["iterate"] == "0"
    assert zero["test_accuracy"] == 0
    assert zero["test_evaluations"] == 2  # of two solves, each judged once
    assert one["test_evaluations"] == 4


def test_a_puzzle_is_solved_only_where_all_of_it_is_right():
    task = SudokuTask(replace(RECIPES["sudoku"].presets["smoke"], test_size=50))
    puzzles, solutions = next(iter(task.sizes.values()))

    class Knows(nn.Module):
        def __init__(self, wrong):
            super().__init__()
            self.wrong = wrong

        def forward(self, x):
            scores = nn.functional.one_hot(sudoku.solve(x), 5).double()
            scores[: self.wrong, 3] = scores[: self.wrong, 3].roll(1, dims=-1)
            return scores

    assert torch.equal(sudoku.solve(puzzles), solutions)
    row = task.tested(Knows(wrong=10))
    assert row["test_accuracy"] == 0.8
    assert row["parts_right"] == pytest.approx(1 - 10 / (50 * 16))


def test_no_test_puzzle_comes_from_a_grid_that_is_trained_on():
    task = SudokuTask(RECIPES["sudoku"].presets["full"])
    generator = torch.Generator().manual_seed(0)
    _, trained = task.draw(4000, generator)
    _, tested = next(iter(task.sizes.values()))

    def classes(grids):
        """Grids up to the names of their digits: those of the first row become 1, 2, 3, 4."""
        order = grids[:, :4].argsort(dim=1) + 1
        return {tuple(row) for row in order.gather(1, grids - 1).tolist()}

    assert len(classes(trained) | classes(tested)) == 12
    assert not classes(trained) & classes(tested)


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (SudokuConfig, {"clues": (3, 6)}, "from 4 to 16"),
        (SudokuConfig, {"clues": (6, 4)}, "from 4 to 16"),
        (SudokuConfig, {"test_grids": 70}, "multiple of 24"),
        (SudokuConfig, {"width": 30}, "width must be a multiple of heads"),
        (PrefixConfig, {"test_sizes": ()}, "test_sizes needs numbers"),
        (MazeConfig, {"size": 1}, "size"),
        (PrefixConfig, {"depths": (0, 4)}, "depths must be 1 or more"),
        (PrefixConfig, {"starts": 1}, "starts"),
        (PrefixConfig, {"loops": 0.0}, "loops"),
    ],
)
def test_settings_out_of_their_domain_are_named(kind, settings, named):
    with pytest.raises(ValueError, match=named):
        kind(**settings)
