"""The settings of a recipe whose networks reason for longer than they were trained to."""

from dataclasses import dataclass

from typing_extensions import override

from deqlab.experiments.config import check_at_least, require
from deqlab.recipes.by_steps import StepsConfig


@dataclass(frozen=True, kw_only=True)
class ReasoningConfig(StepsConfig):
    """What the recipes have.

    Attributes:
        width: Channels of the state.
        blocks: Blocks inside of f.
        loops: How often a cell is looped while training, in the mean.
        differentiated: How many of the last loops are differentiated.
        test_size: Samples that are tested.
        depths: After how many steps a trained network is asked for its answers.
        starts: Random starts that are compared with each other.
    """

    rate: float = 0.6
    width: int = 64
    blocks: int = 1
    loops: float = 16.0
    differentiated: int = 6
    steps: int = 1500
    max_steps: int = 30
    test_size: int = 1000
    depths: tuple[int, ...] = (16, 32, 64, 128, 256)
    starts: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", "blocks", "loops", "differentiated", "test_size")
        check_at_least(self, 2, "starts")
        require(
            all(depth >= 1 for depth in self.depths),
            f"depths must be 1 or more, got {list(self.depths)}",
        )


@dataclass(frozen=True, kw_only=True)
class SudokuConfig(ReasoningConfig):
    """The fields of `sudoku`.

    Attributes:
        heads: Heads of the attention.
        cap: Of the feedback at the start; see `TransformerCell`.
        clues: The fewest and the most clues of a puzzle.
        test_grids: How many of the 288 grids are kept for testing, a multiple of 24: with a grid
            all that come from it by renaming digits are kept.
    """

    heads: int = 4
    cap: float = 0.04
    clues: tuple[int, ...] = (4, 6)
    test_grids: int = 72

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "heads")
        require(
            self.width % self.heads == 0,
            f"width must be a multiple of heads = {self.heads}, got {self.width}",
        )
        require(
            len(self.clues) == 2 and 4 <= self.clues[0] <= self.clues[1] <= 16,
            f"clues are the fewest and the most, from 4 to 16, got {list(self.clues)}",
        )
        require(
            0 < self.test_grids < 288 and self.test_grids % 24 == 0,
            f"test_grids must be a multiple of 24 from 24 to 264, got {self.test_grids}",
        )

    @property
    @override
    def subject(self) -> str:
        return "4 x 4 Sudoku"


@dataclass(frozen=True, kw_only=True)
class PositionsConfig(ReasoningConfig):
    """The fields of `prefix-sums` and `mazes`.

    Attributes:
        size: Bits of a string, or cells along the side of a maze, while training.
        test_sizes: Likewise where networks are tested; the last is what they are compared by.
    """

    size: int = 32
    test_sizes: tuple[int, ...] = (32, 64, 128, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "size")
        require(
            len(self.test_sizes) > 0 and min(self.test_sizes) >= 2,
            f"test_sizes needs numbers of 2 or more, got {list(self.test_sizes)}",
        )


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(PositionsConfig):
    """The fields of `prefix-sums`."""

    @property
    @override
    def subject(self) -> str:
        return f"prefix sums of {self.test_sizes[-1]} bits"


@dataclass(frozen=True, kw_only=True)
class MazeConfig(PositionsConfig):
    """The fields of `mazes`."""

    size: int = 5
    test_sizes: tuple[int, ...] = (5, 7, 9, 13)

    @property
    @override
    def subject(self) -> str:
        return f"mazes of {self.test_sizes[-1]} x {self.test_sizes[-1]} cells"
