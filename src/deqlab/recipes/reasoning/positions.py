"""`prefix-sums` and `mazes`: puzzles of any size, learned at one and asked at others.

Networks are convolutional, so that no weight knows the size; the answer at one end hangs on the
other, so that a larger puzzle wants more steps. Source of both tasks: Schwarzschild et al. (2021),
"Can you learn an algorithm? Generalizing from easy to hard problems with recurrent networks".
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from deqlab.costs import num_parameters
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.loops import RandomLoops
from deqlab.gradients.switched import Switched
from deqlab.nn.models.recall import Positions, explicit_recall_net, recall_net
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.reasoning.config import MazeConfig, PositionsConfig, PrefixConfig
from deqlab.recipes.reasoning.page import CLAIM, MAX_STEPS, charts
from deqlab.recipes.reasoning.sudoku import SMALL
from deqlab.recipes.reasoning.task import ReasoningTask, without_state
from deqlab.solvers.picard import Picard
from deqlab.tasks import mazes, prefix_sums
from deqlab.training.equilibrium import Labelled


class PrefixTask(ReasoningTask):
    """Strings of bits, as one channel of -1 and 1, and the parity of all up to each."""

    def __init__(self, config: PrefixConfig) -> None:
        super().__init__(config)
        self._size = config.size
        generator = torch.Generator().manual_seed(2**31 - 2)
        self.sizes = {n: _strings(config.test_size, n, generator) for n in config.test_sizes}

    @override
    def draw(self, count: int, generator: torch.Generator) -> Labelled:
        return _strings(count, self._size, generator)


class MazeTask(ReasoningTask):
    """Pictures of mazes, and which of their pixels are on the shortest path."""

    def __init__(self, config: MazeConfig) -> None:
        super().__init__(config)
        self._size = config.size
        generator = torch.Generator().manual_seed(2**31 - 2)
        self.sizes = {
            n: mazes.sample(config.test_size, size=n, generator=generator)
            for n in config.test_sizes
        }

    @override
    def draw(self, count: int, generator: torch.Generator) -> Labelled:
        return mazes.sample(count, size=self._size, generator=generator)


def _strings(count: int, num_bits: int, generator: torch.Generator) -> Labelled:
    bits, sums = prefix_sums.sample(count, num_bits=num_bits, generator=generator)
    return 2.0 * bits[:, None].float() - 1, sums


def _deq(inputs: int, dims: int, config: PositionsConfig, data: None) -> Positions:
    loops = RandomLoops(mean=config.loops, differentiated=config.differentiated)
    gradient: Gradient = Switched(train=loops, use=Implicit())
    return recall_net(
        inputs,
        config.width,
        2,
        dims=dims,
        blocks=config.blocks,
        solver=Picard(rtol=1e-2, max_steps=config.max_steps),
        gradient=gradient,
        on_failure="ignore",  # the log of the run speaks up
    )


def _explicit(inputs: int, dims: int, config: PositionsConfig, blocks: int) -> Positions:
    return explicit_recall_net(inputs, config.width, 2, dims=dims, blocks=blocks)


def _of_parameters(inputs: int, dims: int, config: PositionsConfig, data: None) -> nn.Module:
    budget = num_parameters(_deq(inputs, dims, config, data))
    make = partial(_explicit, inputs, dims, config)
    return make(size_of_equal_parameters(make, budget, count(1)))


def _of_flops(
    inputs: int, dims: int, config: PositionsConfig, data: None, flops: float
) -> nn.Module:
    make = partial(_explicit, inputs, dims, config)
    side = config.size if dims == 1 else 2 * config.size + 1
    x = torch.zeros(config.batch_size, inputs, *[side] * dims)
    y = torch.zeros(config.batch_size, *[side] * dims, dtype=torch.int64)
    return make(size_of_equal_flops(make, round(flops), count(1), x, y))


def _recipe(
    inputs: int,
    dims: int,
    *,
    name: str,
    title: str,
    size: str,
    full: PositionsConfig,
    small: dict[str, Any],
    quick: dict[str, Any],
    task: Callable[..., ReasoningTask],
) -> Recipe:
    made = (partial(each, inputs, dims) for each in (_deq, _of_parameters, _of_flops))
    deq, of_parameters, of_flops = made
    return recipe(
        {
            "deq": Arm(label="DEQ, trained by random loops", make=deq),
            **twins(of_parameters, of_flops),
        },
        name=name,
        title=title,
        source="Asked by deqlab; after Schwarzschild et al. (2021), Bansal et al. (2022).",
        presets={
            "smoke": replace(full, **(SMALL | small)),
            "quick": replace(full, **quick),
            "full": full,
        },
        task=task,
        metric=ReasoningTask.metric,
        restored=without_state,
        fields=("parts_right", "test_loss"),
        charts=charts(size),
        max_steps=MAX_STEPS,
        claim=CLAIM,
    )


PREFIX = PrefixConfig(
    learning_rates=(2e-3,),
    weight_decay=1e-2,
    width=32,
    blocks=2,
    loops=20.0,
    differentiated=10,
    steps=1000,
    test_size=200,
)
MAZES = MazeConfig(
    learning_rates=(2e-3,),
    weight_decay=1e-2,
    width=32,
    blocks=2,
    loops=20.0,
    differentiated=10,
    steps=1500,
    batch_size=32,
    test_size=100,
)

RECIPES = (
    _recipe(
        1,
        1,
        name="prefix-sums",
        title="Prefix sums, learned at 32 bits and asked at 256",
        size="bits",
        full=PREFIX,
        small={"size": 8, "test_sizes": (8, 16)},
        quick={"steps": 500, "num_evaluations": 2},
        task=PrefixTask,
    ),
    _recipe(
        3,
        2,
        name="mazes",
        title="Mazes, learned at 5 x 5 cells and asked at 13 x 13",
        size="cells along a side",
        full=MAZES,
        small={"size": 3, "test_sizes": (2, 3), "depths": (16, 120)},
        quick={"steps": 300, "num_evaluations": 2, "test_sizes": (5, 7)},
        task=MazeTask,
    ),
)
