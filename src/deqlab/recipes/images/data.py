"""The images that a recipe trains, chooses and tests on."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.recipes.images.config import ImageConfig
from deqlab.recipes.task import Metric, Task, accuracy
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.loading import load
from deqlab.training.batches import Shuffled
from deqlab.training.equilibrium import Labelled, assessed


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images (N, C, H, W) with their classes.

    Attributes:
        train: For training.
        validation: Decides between learning rates; None where there is one.
        test: For testing.
        shape: (channels, height, width).
        num_classes: The number of classes.
    """

    train: Labelled
    validation: Labelled | None
    test: Labelled
    shape: tuple[int, int, int]
    num_classes: int


def images(config: ImageConfig) -> Images:
    """Return the images of a config; the last tenth decides between learning rates, if several.

    Raises:
        DataError: The data set is not here, or damaged.
    """
    data = _loaded(config.dataset)
    count = min(config.train_size or len(data.x_train), len(data.x_train))
    tests = config.test_size or len(data.x_test)
    kept = count if len(config.learning_rates) == 1 else count - count // 10
    x, y = data.x_train[:count].view(-1, *data.shape), data.y_train[:count]
    return Images(
        train=(x[:kept], y[:kept]),
        validation=None if kept == count else (x[kept:], y[kept:]),
        test=(data.x_test[:tests].view(-1, *data.shape), data.y_test[:tests]),
        shape=data.shape,
        num_classes=data.num_classes,
    )


def shaped(about: dict[str, Any]) -> Images:
    """Return images of a shape, of which there are none: what a network is made again for."""
    none = torch.empty(0, *about["shape"]), torch.empty(0, dtype=torch.int64)
    return Images(
        train=none,
        validation=None,
        test=none,
        shape=tuple(about["shape"]),
        num_classes=about["num_classes"],
    )


class ImageTask(Task[Labelled]):
    """Images, a cycle of AdamW, and the share that is classified rightly."""

    metric: Metric = accuracy()

    def __init__(self, config: ImageConfig) -> None:
        super().__init__(config)
        self.config: ImageConfig = config
        self.data: Images = images(config)
        per_epoch = max(1, len(self.data.train[0]) // config.batch_size)
        self.steps_between_tunings = -(-per_epoch // 2)

    @override
    def batches(self, generator: torch.Generator) -> Shuffled[Labelled]:
        x, y = self.data.train

        def take(part: Int64[Tensor, " B"]) -> Labelled:
            return (_flipped(x[part], generator) if self.config.flips else x[part]), y[part]

        return Shuffled(
            len(x),
            self.config.batch_size,
            epochs=self.config.epochs,
            generator=generator,
            take=take,
        )

    @override
    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        return cross_entropy(model(batch[0]), batch[1])

    @override
    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        decay = self.config.weight_decay
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)

    @override
    def schedule(self, optimizer: Optimizer, rate: float, steps: int) -> LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)

    @override
    def tested(self, model: nn.Module) -> Row:
        return assessed(model, self.data.test)

    @override
    def validated(self, model: nn.Module) -> float:
        assert self.data.validation is not None
        loss: float = assessed(model, self.data.validation)["test_loss"]
        return loss

    @override
    def about(self) -> dict[str, Any]:
        return {"shape": self.data.shape, "num_classes": self.data.num_classes}


@lru_cache(maxsize=1)
def _loaded(dataset: str) -> ImageData:
    data: ImageData = load(dataset)
    return data


def _flipped(x: Float[Tensor, "B C H W"], generator: torch.Generator) -> Float[Tensor, "B C H W"]:
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, x.flip(3), x)
