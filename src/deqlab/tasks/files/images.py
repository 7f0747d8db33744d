"""Image classification sets as standardised tensors.

A pixel p, an integer from 0 to p_max, becomes

    x = (p / p_max - mean) / std,

where mean and std are two scalars, taken over all pixels and channels of the training
images and applied to the test images too. Sums of integers are exact, so the tensors are
the same, bit for bit, on every machine.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from deqlab.tasks.files.classification import ClassificationData, Split
from deqlab.tasks.files.dataset import Dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData(ClassificationData):
    """A classification set, one flattened and standardised image per row.

    The pixels, from 0 to 1, are `x * std + mean`.

    Attributes:
        shape: (channels, height, width); `x_train.view(-1, *shape)` are the images.
        mean: The mean of the training pixels, from 0 to 1.
        std: Their standard deviation.
        class_names: What the classes are called; empty if they are digits or have no names.
    """

    shape: tuple[int, int, int]
    mean: float
    std: float
    class_names: tuple[str, ...] = ()


def image_data(
    dataset: Dataset[ImageData],
    split: Split,
    *,
    largest_pixel: int = 255,
    class_names: tuple[str, ...] = (),
) -> ImageData:
    """Return the images of a data set, standardised.

    Args:
        dataset: Says how large the images are, and how many classes there are.
        split: Pixels and classes as unsigned bytes; the channels come first.
        largest_pixel: The largest value that a pixel can have.
        class_names: What the classes are called.
    """
    x_train, y_train, x_test, y_test = split
    channels, height, width = dataset.shape
    mean, std = _moments(x_train)
    # One table entry per pixel value: rounded once, from float64.
    table = ((np.arange(largest_pixel + 1) - mean) / std).astype(np.float32)
    return ImageData(
        name=dataset.name,
        x_train=torch.from_numpy(table[x_train].reshape(len(x_train), -1)),
        y_train=torch.from_numpy(y_train.astype(np.int64)),
        x_test=torch.from_numpy(table[x_test].reshape(len(x_test), -1)),
        y_test=torch.from_numpy(y_test.astype(np.int64)),
        num_classes=dataset.num_classes or 0,
        shape=(channels, height, width),
        mean=mean / largest_pixel,
        std=std / largest_pixel,
        class_names=class_names,
    )


def _moments(pixels: UInt8[np.ndarray, "..."]) -> tuple[float, float]:
    """Return mean and (population) standard deviation of all pixels, from exact integer sums."""
    flat = pixels.ravel()
    total = int(flat.sum(dtype=np.uint64))
    total_of_squares = int(np.einsum("i,i->", flat, flat, dtype=np.uint64))
    variance = (flat.size * total_of_squares - total**2) / flat.size**2
    return total / flat.size, variance**0.5
