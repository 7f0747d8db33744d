"""Features of CIFAR-10 images: 256 numbers from a small convolutional network.

Ling et al. (2024, arXiv:2402.02697) take those of a VGG-16 trained on all of CIFAR-10. Its
weights are not public, nor are all the images here, so this network stands in for it: four
convolutions with batch normalisation, trained on the 3,200 images of `tasks.load("cifar10")` for
25 epochs (a minute on one core) with random flips and shifts. Its features are weaker than a
VGG-16's, and accuracies on them lower.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.images import ImageData
from deqlab.training.loop import Loop

WIDTHS = (16, 32, 64, 256)
"""Channels of each layer; the last are the features."""
EPOCHS = 25
_BATCH_SIZE = 64
_LEARNING_RATE = 0.1  # the peak of its cycle
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_SHIFT = 4  # pixels, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvolutionalFeatures:
    """What the extractor makes of the images, and how good it is itself.

    Attributes:
        train: Features of the training images, centred, of mean square norm 1.
        test: Those of the test images, by the same numbers.
        test_accuracy: The test accuracy of the extractor, with the readout it was trained with.
    """

    train: Float64[Tensor, "train 256"]
    test: Float64[Tensor, "test 256"]
    test_accuracy: float


def convolutional_features(
    data: ImageData, *, seed: int = 0, epochs: int = EPOCHS
) -> ConvolutionalFeatures:
    """Train the extractor on the training images, and return the features of all.

    Args:
        data: Images of at least 16 x 16 pixels.
        seed: Fixes everything that is random; the global generator is left alone.
        epochs: Passes over the training images, at least 1.

    Returns:
        The same numbers for the same seed, machine and number of threads.
    """
    images = [x.view(-1, *data.shape) for x in (data.x_train, data.x_test)]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = nn.Sequential(_extractor(data.shape[0]), nn.Linear(WIDTHS[-1], data.num_classes))
        _train(model, images[0], data.y_train, epochs)
    model.eval()
    with torch.no_grad():
        train, test = (torch.cat([model[0](x) for x in part.split(400)]) for part in images)
        right = model[1](test).argmax(dim=1) == data.y_test
    train, test = centred_and_scaled(train, test)
    return ConvolutionalFeatures(train=train, test=test, test_accuracy=right.double().mean().item())


def centred_and_scaled(
    train: Float[Tensor, "n p"], test: Float[Tensor, "m p"], *, what: str = "training inputs"
) -> tuple[Float64[Tensor, "n p"], Float64[Tensor, "m p"]]:
    """Return training and test inputs, centred and of unit mean square norm, at any scale.

        x  ->  (x - mean) / sqrt(mean |x - mean|^2),

    with both means over the training set; so tau_0 = 1 (Ling et al. 2024, experiments).

    Args:
        train: The training inputs.
        test: The test inputs, also none at all.
        what: What the training inputs are, for the sentence that refuses them.

    Raises:
        DataError: All training inputs are the same.
    """
    # By a power of two, so that nothing is rounded: squares of numbers above 1e154 overflow.
    exponent = math.frexp(float(train.abs().max()))[1]
    train, test = (
        torch.from_numpy(np.ldexp(part.double().numpy(), -exponent)) for part in (train, test)
    )
    mean = train.mean(dim=0)
    train, test = train - mean, test - mean
    size = (train * train).sum(dim=1).mean().sqrt()
    if not bool(size > 0):
        raise DataError(f"all {what} are the same: nothing is left of them when centred")
    return train / size, test / size


def _extractor(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, width in enumerate(WIDTHS):
        last = i == len(WIDTHS) - 1
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1) if last else nn.MaxPool2d(2),
        ]
        channels = width
    return nn.Sequential(*layers, nn.Flatten())


def _train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    batches = max(1, len(x) // _BATCH_SIZE)  # the last, smaller one is left out
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=_LEARNING_RATE,
        momentum=_MOMENTUM,
        nesterov=True,
        weight_decay=_WEIGHT_DECAY,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _LEARNING_RATE, total_steps=epochs * batches
    )

    def loss(part: Tensor) -> tuple[Tensor, None]:
        return cross_entropy(model(_augmented(x[part])), y[part]), None

    loop = Loop(loss=loss, optimizer=optimizer, schedule=schedule)
    for _ in range(epochs):
        for _step in loop.run(torch.randperm(len(x)).split(_BATCH_SIZE)[:batches]):
            pass


def _augmented(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Flip half of the images, and shift the batch by a few pixels."""
    flipped = torch.rand(len(x), 1, 1, 1) < 0.5
    x = torch.where(flipped, x.flip(3), x)
    down, right = torch.randint(0, 2 * _SHIFT + 1, (2,)).tolist()
    height, width = x.shape[2:]
    shifted = pad(x, (_SHIFT,) * 4)[:, :, down : down + height, right : right + width]
    return shifted.contiguous(memory_format=torch.channels_last)
