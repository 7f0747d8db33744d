"""The settings of a recipe for images: how much of which data, and how it is shown."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_dataset
from deqlab.recipes.config import RecipeConfig
from deqlab.tasks.files.images import ImageData


@dataclass(frozen=True, kw_only=True)
class ImageConfig(RecipeConfig):
    """What recipes for images have.

    Attributes:
        dataset: A set of images that `deqlab data` lists.
        train_size: How many of its training images are taken; 0 is all.
        test_size: Likewise of the test images.
        epochs: Passes over the training images.
        flips: Whether half of the images of a batch are mirrored left to right while training.
    """

    dataset: str = "fashion_mnist"
    train_size: int = 0
    test_size: int = 0
    epochs: int = 5
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dataset(self, "dataset", ImageData)
        check_at_least(self, 1, "epochs")
        check_at_least(self, 0, "train_size", "test_size")

    @property
    @override
    def subject(self) -> str:
        return self.dataset


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
