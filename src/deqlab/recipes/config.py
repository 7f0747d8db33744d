"""The settings of a recipe: how its networks are trained, and on how much data."""

from dataclasses import dataclass
from math import inf
from typing import Any

from deqlab.experiments.config import Config, check_at_least, check_choice, require
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.registry import names_of
from deqlab.training.policies import POLICIES


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
        policy: What happens where the DEQ leaves its equilibrium: a key of `POLICIES`.
        num_evaluations: How often a network is tested while it trains.
    """

    epochs: int = 5
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-2,)
    weight_decay: float = 0.0
    clip: float = 0.0
    rate: float = 0.5
    policy: str = "warn"
    num_evaluations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "epochs", "batch_size", "num_evaluations")
        check_at_least(self, 0, "weight_decay", "clip")
        require(0 <= self.rate < 1, f"rate must be 0 or more, and below 1, got {self.rate}")
        check_choice(self, "policy", POLICIES)
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


SMOKE: dict[str, Any] = {
    "dataset": "digits",
    "seeds": (0,),
    "train_size": 640,
    "test_size": 250,
    "epochs": 2,
    "batch_size": 32,
    "flips": False,
    "num_evaluations": 2,
}
"""What recipes for images are set to for a run of seconds, on the images that are bundled."""
