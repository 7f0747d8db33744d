"""Classification inputs for networks on vectors: pixels, or features of photographs."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deqlab.inputs.features import centred_and_scaled, convolutional_features
from deqlab.tasks.files.classification import ClassificationData
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.loading import load


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """A classification set, one input a row.

    `extractor_accuracy` is that of the network whose features these are; None for pixels.
    """

    x_train: Float[Tensor, "n p"]
    y_train: Int64[Tensor, " n"]
    x_test: Float[Tensor, "m p"]
    y_test: Int64[Tensor, " m"]
    num_classes: int
    extractor_accuracy: float | None = None


@lru_cache(maxsize=1)
def load_inputs(name: str, extractor_epochs: int) -> Inputs:
    """Return all inputs of a data set, kept in memory for the next job.

    Args:
        name: A data set of `tasks`. Of photographs (images in colour) these are features,
            of the others what they hold, such as pixels.
        extractor_epochs: For which the extractor of the features is trained.
    """
    data: ClassificationData = load(name)
    x_train, x_test, accuracy = data.x_train, data.x_test, None
    if isinstance(data, ImageData) and data.shape[0] > 1:
        found = convolutional_features(data, epochs=extractor_epochs)
        x_train, x_test, accuracy = found.train, found.test, found.test_accuracy
    return Inputs(
        x_train=x_train,
        y_train=data.y_train,
        x_test=x_test,
        y_test=data.y_test,
        num_classes=data.num_classes,
        extractor_accuracy=accuracy,
    )


def draw(
    inputs: Inputs, train_per_class: int, test_per_class: int, generator: torch.Generator
) -> Inputs:
    """Return a random part of the inputs in random order, centred and scaled, in float32.

    Args:
        inputs: All there are.
        train_per_class: Training inputs of each class, or all of those that have fewer.
        test_per_class: Test inputs, likewise.
        generator: Draws them.
    """
    train = _drawn(inputs.y_train, train_per_class, generator)
    test = _drawn(inputs.y_test, test_per_class, generator)
    x_train, x_test = centred_and_scaled(inputs.x_train[train], inputs.x_test[test])
    return Inputs(
        x_train=x_train.float(),
        y_train=inputs.y_train[train],
        x_test=x_test.float(),
        y_test=inputs.y_test[test],
        num_classes=inputs.num_classes,
        extractor_accuracy=inputs.extractor_accuracy,
    )


def _drawn(y: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(y), generator=generator)
    kept = [order[y[order] == k][:per_class] for k in y.unique()]
    return torch.cat(kept)[torch.randperm(sum(map(len, kept)), generator=generator)]
