"""Recipes that count steps, and not epochs: AdamW, and half a cosine of the learning rate."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from typing_extensions import override

from deqlab.experiments.config import check_at_least
from deqlab.nn.learning_rates import parameter_groups
from deqlab.recipes.config import RecipeConfig
from deqlab.recipes.task import BatchT, Task

FINAL = 0.1
"""The learning rate at the end of a cosine, in units of its peak."""


@dataclass(frozen=True, kw_only=True)
class StepsConfig(RecipeConfig):
    """What such recipes have.

    Attributes:
        steps: Steps of training.
        warmup: Steps over which the learning rate rises to its peak.
        max_steps: Steps of a solve while training, at most.
    """

    learning_rates: tuple[float, ...] = (1e-3,)
    weight_decay: float = 0.1
    clip: float = 1.0
    steps: int = 2000
    warmup: int = 100
    max_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "steps", "max_steps")
        check_at_least(self, 0, "warmup")


class StepsTask(Task[BatchT]):
    """Data that is trained on by AdamW, with the parameters in groups, and a cosine.

    Args:
        config: The settings of the recipe.
    """

    def __init__(self, config: StepsConfig) -> None:
        super().__init__(config)
        self._warmup = config.warmup

    @override
    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        groups = parameter_groups(model, lr=rate, weight_decay=self.config.weight_decay)
        return torch.optim.AdamW(groups, betas=(0.9, 0.99))

    @override
    def schedule(self, optimizer: Optimizer, rate: float, steps: int) -> LRScheduler:
        """Return a rise to the peak, and then half a cosine down to a tenth of it."""
        warmup = min(self._warmup, steps - 1)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            done = (step - warmup) / max(1, steps - warmup)
            return FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

        return LambdaLR(optimizer, factor)
