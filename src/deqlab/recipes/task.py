"""What a recipe trains on, and how it is told what its networks have learned."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deqlab.experiments.base import Row
from deqlab.recipes.config import RecipeConfig
from deqlab.training.batches import Drawn, Shuffled
from deqlab.training.checkpoints.checkpoint import Stateful
from deqlab.training.equilibrium import at_iterates
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The number by which the networks of a recipe are compared.

    Attributes:
        field: Its name in the rows.
        name: Its name in sentences, with its article.
        higher: Whether more of it is better.
        show: Writes a value.
        unit: What stands behind a value.
        show_gap: Writes a difference of two.
        gap_unit: What stands behind a difference.
    """

    field: str
    name: str
    higher: bool
    show: Callable[[float], str]
    unit: str = ""
    show_gap: Callable[[float], str]
    gap_unit: str = ""

    @property
    def worst(self) -> float:
        """What stands for a value that is not finite."""
        return 0.0 if self.higher else float("inf")

    def gain(self, ours: float, theirs: float) -> float:
        """Return by how much `ours` is better."""
        return ours - theirs if self.higher else theirs - ours


def accuracy(name: str = "an accuracy") -> Metric:
    """Return the metric that is a share of right answers."""
    return Metric(
        field="test_accuracy",
        name=name,
        higher=True,
        show=lambda share: f"{100 * share:.2f}",
        unit=" %",
        show_gap=lambda gap: f"{100 * gap:+.2f}",
        gap_unit=" points",
    )


def psnr() -> Metric:
    """Return the metric that is the peak signal-to-noise ratio of pictures from 0 to 1."""
    return Metric(
        field="psnr",
        name="a peak signal-to-noise ratio",
        higher=True,
        show="{:.2f}".format,
        unit=" dB",
        show_gap="{:+.2f}".format,
        gap_unit=" dB",
    )


class Task(ABC, Generic[BatchT]):
    """Data, and how a network trains and is tested on it.

    Args:
        config: The settings of the recipe.

    Attributes:
        data: What its networks are made for; see `Arm.make`.
        metric: What they are compared by.
        steps_between_tunings: How often the recipe's `tune` is called; see `recipe`.
        chosen_by: The number among those of `tested` by which the weights of one evaluation are
            kept, the least; None keeps the last.
    """

    data: Any
    metric: Metric
    steps_between_tunings: int = 1
    chosen_by: str | None = None

    def __init__(self, config: RecipeConfig) -> None:
        self.config = config

    @abstractmethod
    def batches(self, generator: torch.Generator) -> Shuffled[BatchT] | Drawn[BatchT]:
        """Return the batches of a whole training."""

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """What else a training is made of, for its checkpoint; `batches` makes it anew."""
        return {}

    @abstractmethod
    def loss(self, model: nn.Module, batch: BatchT) -> Tensor:
        """Return the loss of a batch, ()."""

    def inputs(self, batch: BatchT) -> Any:  # noqa: ANN401, what the network takes
        """Return what the network sees of a batch."""
        return batch[0]  # type: ignore[index]

    @abstractmethod
    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        """Return the optimiser, whose learning rate has its peak at `rate`."""

    @abstractmethod
    def schedule(self, optimizer: Optimizer, rate: float, steps: int) -> LRScheduler:
        """Return the course of the learning rate over so many steps."""

    @abstractmethod
    def tested(self, model: nn.Module) -> Row:
        """Return the metric and what else is known on the test samples.

        Of a network with DEQ layers "converged" and "test_evaluations" are among it.
        """

    @abstractmethod
    def validated(self, model: nn.Module) -> float:
        """Return the loss that decides between learning rates, on samples kept for that."""

    def examined(self, model: nn.Module) -> Iterator[Row]:
        """Yield rows on what else a trained network does, each with its kind."""
        if layers_of(model):
            test = partial(evaluated, evaluate=self.tested)
            yield from ({"kind": "feedback", **row} for row in at_iterates(model, test))

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return what a file of weights keeps of `data`, for the network to be made again."""
