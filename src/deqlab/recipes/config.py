"""The settings of a recipe: how its networks are trained, and on how much data."""

from dataclasses import dataclass
from math import inf

from deqlab.experiments.config import Config, check_at_least, check_choice, require
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.registry import names_of


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(Config):
    """What every recipe has.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples of a step.
        learning_rates: The peaks of a cycle of AdamW that are tried, by every arm alike.
        weight_decay: The weight decay of AdamW.
        clip: The largest norm of the gradient; 0 is any.
        rate: What `RateControl` aims at; 0 is no control.
        num_evaluations: How often a network is tested while it trains.
    """

    epochs: int = 5
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-2,)
    weight_decay: float = 0.0
    clip: float = 0.0
    rate: float = 0.5
    num_evaluations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "epochs", "batch_size", "num_evaluations")
        check_at_least(self, 0, "weight_decay", "clip")
        require(0 <= self.rate < 1, f"rate must be 0 or more, and below 1, got {self.rate}")
        require(len(self.learning_rates) > 0, "learning_rates needs at least one number")
        for rate in self.learning_rates:
            require(0 < rate < inf, f"learning_rates must be above 0, got {rate}")


@dataclass(frozen=True, kw_only=True)
class ImageConfig(RecipeConfig):
    """What recipes for images have.

    Attributes:
        dataset: A set of images that `deqlab data` lists.
        train_size: How many of its training images are taken; 0 is all.
        test_size: Likewise of the test images.
        flips: Whether half of the images of a batch are mirrored left to right while training.
    """

    dataset: str = "fashion_mnist"
    train_size: int = 0
    test_size: int = 0
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "dataset", names_of(ImageData))
        check_at_least(self, 0, "train_size", "test_size")
