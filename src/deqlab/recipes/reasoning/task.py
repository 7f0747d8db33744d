"""What networks that reason are trained on and asked for, whatever the puzzle is."""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.loops import Loops
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.reasoning.config import ReasoningConfig
from deqlab.recipes.task import Metric, accuracy
from deqlab.solution import Solution
from deqlab.tasks.exactness import exact_score
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import Labelled, assessed
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of
from deqlab.training.path_independence import PathIndependence, path_independence

FEW, PARTS = 4, 5
"""After so many loops the samples are sorted by their residual, into so many parts."""


class ReasoningTask(StepsTask[Labelled]):
    """Puzzles that are drawn anew for each batch; solved is a puzzle that is right everywhere.

    Attributes:
        sizes: The test samples of each size; the last is what networks are compared by.
    """

    metric: Metric = accuracy(name="a share of solved puzzles")
    sizes: Mapping[int, Labelled]

    def __init__(self, config: ReasoningConfig) -> None:
        super().__init__(config)
        self.config: ReasoningConfig = config
        self.data: Any = None

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Labelled:
        """Return puzzles to train on, and their solutions as classes."""

    @override
    def batches(self, generator: torch.Generator) -> Drawn[Labelled]:
        size = self.config.batch_size
        return Drawn(self.config.steps, generator, lambda generator: self.draw(size, generator))

    @override
    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        scores, y = model(batch[0]), batch[1]
        return cross_entropy(scores.flatten(0, -2), y.flatten())

    @override
    def tested(self, model: nn.Module) -> Row:
        return self._on(model, self._hardest)

    @override
    def validated(self, model: nn.Module) -> float:
        drawn = self.draw(self.config.test_size, torch.Generator().manual_seed(2**31 - 1))
        loss: float = self._on(model, drawn)["test_loss"]
        return loss

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        for size, data in self.sizes.items():
            yield {"kind": "size", "size": size, **self._on(model, data)}
        if not layers_of(model):
            return
        yield from super().examined(model)
        yield from self._at_depths(model)
        yield from self._by_residual(model)
        yield {"kind": "starts", **asdict(self._agreement(model))}

    @override
    def about(self) -> dict[str, Any]:
        return {}

    @property
    def _hardest(self) -> Labelled:
        return self.sizes[max(self.sizes)]

    def _on(self, model: nn.Module, data: Labelled) -> Row:
        return assessed(model, data, _exactly, max_steps=max(self.config.depths))

    def _at_depths(self, model: nn.Module) -> Iterator[Row]:
        """Yield what the weights answer after so many loops, and after so many steps of a solver.

        The solver is that of the network, held to a tolerance that few samples meet: it uses all
        its steps, or ends where there is nothing left to gain.
        """
        for depth in self.config.depths:
            looped, solved = copy.deepcopy(model), copy.deepcopy(model)
            for layer in layers_of(looped).values():
                layer.gradient = Loops(steps=depth)
            for layer in layers_of(solved).values():
                layer.gradient = Implicit()
                layer.on_failure = "ignore"
            row = assessed(looped, self._hardest, _exactly)
            by_solver = assessed(solved, self._hardest, _exactly, rtol=1e-5, max_steps=depth)
            yield {
                "kind": "depth",
                "depth": depth,
                **row,
                "solver_accuracy": by_solver["test_accuracy"],
                "solver_residual": by_solver["residual"],
            }

    def _agreement(self, model: nn.Module) -> PathIndependence:
        """Return how well starts agree where solves may take as many steps as in a test."""
        patient = copy.deepcopy(model)
        most = max(self.config.depths)
        for layer in layers_of(patient).values():
            layer.solver = replace(layer.solver, max_steps=most, patience=most)
        return path_independence(patient, self._hardest[0], starts=self.config.starts)

    def _by_residual(self, model: nn.Module) -> Iterator[Row]:
        """Yield how many of the samples are solved that are near their equilibrium, and far."""
        few = copy.deepcopy(model)
        residuals: list[Tensor] = []
        layer = next(iter(layers_of(few).values()))
        layer.gradient = Loops(steps=FEW)
        layer.observers.append(
            lambda solution: residuals.append(_relative(solution, layer.solver.rtol))
        )
        x, y = self._hardest
        wrong = evaluated(few, lambda model: {"wrong": model(x).argmax(-1) != y})["wrong"]
        right = ~wrong.flatten(1).any(dim=1)
        order = residuals[-1].argsort()
        for part, rows in enumerate(order.tensor_split(PARTS)):
            yield {
                "kind": "residual",
                "part": part + 1,
                "residual": residuals[-1][rows].median().item(),
                "test_accuracy": right[rows].double().mean().item(),
            }


def _relative(solution: Solution[Any], rtol: float) -> Tensor:
    return rtol * solution.residual / solution.tolerance


def _exactly(scores: Tensor, y: Tensor) -> Row:
    """Return the share of puzzles that are right in every part, that of parts, and the loss."""
    found = exact_score(scores.argmax(dim=-1), y)
    return {
        "test_accuracy": found.solved,
        "parts_right": found.parts,
        "test_loss": cross_entropy(scores.flatten(0, -2), y.flatten()).item(),
    }


def without_state(about: dict[str, Any]) -> None:
    """Return what a network is made again for: nothing, for its sizes are in the config."""
