"""The images that a recipe trains, chooses and tests on."""

from dataclasses import dataclass
from functools import lru_cache

from deqlab.recipes.config import ImageConfig
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.loading import load
from deqlab.training.equilibrium import Labelled


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


@lru_cache(maxsize=1)
def _loaded(dataset: str) -> ImageData:
    data: ImageData = load(dataset)
    return data
