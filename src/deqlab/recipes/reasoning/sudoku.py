"""`sudoku`: all 288 grids of 4 x 4, from puzzles with one solution.

One block of a transformer sees the whole grid. Test puzzles come from grids that no network has
seen, nor any that comes from them by renaming digits. The preset `gradients` asks what hurts, a DEQ
or the gradient that it is given: the authors of TRM (Jolicoeur-Martineau 2025, "Less is more:
recursive reasoning with tiny networks") found the one-step gradient of an equilibrium worse than
backpropagation through a full recursion, and did not try the exact one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.gradients.loops import Loops, RandomLoops
from deqlab.gradients.phantom import JacobianFree
from deqlab.gradients.switched import Switched
from deqlab.gradients.unrolled import Unrolled
from deqlab.nn.models.transformer import (
    Transformer,
    equilibrium_transformer,
    explicit_transformer,
)
from deqlab.nn.models.transformer_twins import layers_of_equal_flops
from deqlab.recipes.base import Arm, recipe, twins
from deqlab.recipes.reasoning.config import SudokuConfig
from deqlab.recipes.reasoning.page import CLAIM, MAX_STEPS, charts
from deqlab.recipes.reasoning.task import ReasoningTask, without_state
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.picard import Picard
from deqlab.tasks import sudoku
from deqlab.training.equilibrium import Labelled

CELLS, DIGITS = 16, 5  # 0 is an empty cell

PICARD, ANDERSON = Picard(rtol=1e-2), Anderson(rtol=1e-2)


class SudokuTask(ReasoningTask):
    """Puzzles from the grids to train on; solutions in every cell, clues included."""

    def __init__(self, config: SudokuConfig) -> None:
        super().__init__(config)
        generator = torch.Generator().manual_seed(0)
        self._train, test = sudoku.split(config.test_grids, generator=generator, whole_orbits=True)
        self._clues = (config.clues[0], config.clues[1])
        self.sizes = {CELLS: self._drawn(config.test_size, generator, among=test)}

    @override
    def draw(self, count: int, generator: torch.Generator) -> Labelled:
        return self._drawn(count, generator, among=self._train)

    def _drawn(self, count: int, generator: torch.Generator, *, among: Any) -> Labelled:  # noqa: ANN401
        return sudoku.sample(count, generator=generator, clues=self._clues, among=among)


def deq(
    gradient: Callable[[SudokuConfig], Gradient], solver: Solver[Any] = PICARD
) -> Callable[..., Transformer]:
    """Return what makes the network whose block is looped, or at its equilibrium.

    One that has learned by loops is solved by loops, too: others may find another fixed point.
    """

    def make(config: SudokuConfig, data: None) -> Transformer:
        return equilibrium_transformer(
            DIGITS,
            CELLS,
            config.width,
            config.heads,
            blocks=config.blocks,
            causal=False,
            cap=config.cap,
            solver=replace(solver, max_steps=config.max_steps),
            gradient=gradient(config),
            on_failure="ignore",  # the log of the run speaks up
        )

    return make


def explicit(layers: int | None = None) -> Callable[..., Transformer]:
    """Return what makes the network of so many blocks; None is as many as f has."""

    def make(config: SudokuConfig, data: None) -> Transformer:
        count = config.blocks if layers is None else layers
        sizes = (DIGITS, CELLS, config.width, config.heads)
        return explicit_transformer(*sizes, layers=count, causal=False)

    return make


def explicit_of_flops(config: SudokuConfig, data: None, flops: float) -> nn.Module:
    """Return the network of as many blocks as take most nearly so many FLOPs in a step."""
    tokens = torch.zeros(config.batch_size, CELLS, dtype=torch.int64)
    like = deq(exact)(config, data)
    return explicit(layers_of_equal_flops(like, tokens, budget=round(flops)))(config, data)


def exact(config: SudokuConfig) -> Gradient:
    """Return the gradient of the equilibrium, to 5 %."""
    return Implicit(solver=GMRES(rtol=5e-2, max_products=20))


def by_random_loops(config: SudokuConfig) -> Gradient:
    """Return random loops in training, and the equilibrium in use."""
    loops = RandomLoops(mean=config.loops, differentiated=config.differentiated)
    return Switched(train=loops, use=exact(config))


def by_loops(config: SudokuConfig) -> Gradient:
    """Return always the same number of loops in training, and the equilibrium in use."""
    loops = Loops(steps=round(config.loops), differentiated=config.differentiated)
    return Switched(train=loops, use=exact(config))


def _one_step(config: SudokuConfig) -> Gradient:
    return JacobianFree()


def _last(config: SudokuConfig) -> Gradient:
    return Unrolled(steps=config.differentiated)


FULL = SudokuConfig(arms=("deq", "twin-parameters", "twin-4-layers", "twin-flops"))
SMALL: dict[str, Any] = {
    "seeds": (0,),
    "steps": 250,
    "warmup": 20,
    "width": 32,
    "loops": 8.0,
    "differentiated": 4,
    "test_size": 100,
    "depths": (16, 40),
    "starts": 2,
    "num_evaluations": 2,
}
"""What the recipes are set to for a run of seconds."""

RECIPES = (
    recipe(
        {
            "deq": Arm(label="DEQ, trained by random loops", make=deq(by_random_loops)),
            "loops": Arm(label="Trained by a fixed number of loops", make=deq(by_loops)),
            "exact": Arm(label="Exact gradient of the equilibrium", make=deq(exact, ANDERSON)),
            "one-step": Arm(label="One-step gradient", make=deq(_one_step, ANDERSON)),
            "last-6": Arm(
                label="Last 6 steps, from the equilibrium",
                make=deq(_last, ANDERSON),
            ),
            "twin-4-layers": Arm(label="Four layers", make=explicit(4)),
            **twins(explicit(), explicit_of_flops),
        },
        name="sudoku",
        title="4 x 4 Sudoku by one block, at its equilibrium",
        source="Asked by deqlab; the question of gradients after Jolicoeur-Martineau (2025).",
        presets={
            "smoke": replace(FULL, **SMALL),
            "quick": replace(FULL, steps=800, num_evaluations=4),
            "full": FULL,
            "gradients": replace(FULL, arms=("deq", "loops", "exact", "one-step", "last-6")),
        },
        task=SudokuTask,
        metric=SudokuTask.metric,
        restored=without_state,
        fields=("parts_right", "test_loss"),
        charts=charts(None),
        max_steps=MAX_STEPS,
        claim=CLAIM,
    ),
)
