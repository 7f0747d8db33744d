"""Image classification sets as standardised tensors: digits, mnist, fashion_mnist, cifar10.

A pixel p, an integer from 0 to p_max, becomes

    x = (p / p_max - mean) / std,

where mean and std are two scalars, taken over all pixels and channels of the training
images and applied to the test images too. Sums of integers are exact, so the tensors are
the same, bit for bit, on every machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from deqlab.tasks.files.sets import cifar10
from deqlab.tasks.files.sources import CIFAR10, DIGITS, find_source
from deqlab.tasks.files.store import read_arrays

# The seed of the split of digits and cifar10, which come without one; it is part of the data set.
_SPLIT_SEED = 0
_TEST_SIZES = {DIGITS: 360, CIFAR10: 800}  # a fifth, of 1797 and of 4000

Split: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images, training labels, test images, test labels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A classification set, one flattened and standardised image per row.

    `shape` is (channels, height, width): `x_train.view(-1, *shape)` are the images. The
    pixels, from 0 to 1, are `x * std + mean`.
    """

    name: str
    x_train: Float32[Tensor, "train pixels"]
    y_train: Int64[Tensor, " train"]  # classes, from 0 to num_classes - 1
    x_test: Float32[Tensor, "test pixels"]
    y_test: Int64[Tensor, " test"]
    shape: tuple[int, int, int]
    num_classes: int
    mean: float
    std: float


def load(
    name: str, *, data_dir: Path | None = None, download: bool = True, progress: bool = True
) -> ImageData:
    """Load an image set, verified by its checksums.

    digits is bundled with scikit-learn: 1,437 training and 360 test images of 8 x 8
    pixels, in a fixed stratified split. mnist and fashion_mnist have 60,000 and 10,000 of
    28 x 28; they are looked for in `data_dir`, else in the folder that DEQLAB_DATA names,
    then in the cache directory, and else downloaded there. cifar10 is looked for in the same
    places, and cannot be downloaded: the first 4,000 of its images, 3,200 for training and
    800 for testing, of 3 x 32 x 32, in a fixed stratified split.

    Args:
        name: "digits", "mnist", "fashion_mnist" or "cifar10".
        data_dir: A folder that holds the folder `name`, or is that folder itself.
        download: Whether to download what is absent.
        progress: Whether to draw a progress bar, on standard error, if it does.

    Returns:
        The data, on the CPU. It is read anew at every call.

    Raises:
        DataError: The name is unknown, `data_dir` is not a folder, a file is damaged, or
            one is absent and could not be downloaded.

    Example:
        >>> data = load("digits")
        >>> data.x_train.shape, data.shape
        (torch.Size([1437, 64]), (1, 8, 8))
    """
    if name == DIGITS:
        return _assemble(name, *_digits(), largest_pixel=16)
    if name == CIFAR10:
        images, labels = cifar10.read_arrays(data_dir)
        return _assemble(name, *_split(name, images.transpose(0, 3, 1, 2), labels))
    source = find_source(name)
    arrays = read_arrays(source, data_dir=data_dir, download=download, progress=progress)
    x_train, y_train, x_test, y_test = arrays
    split = (x_train[:, None], y_train, x_test[:, None], y_test)
    return _assemble(name, *split, num_classes=source.num_classes)


def _digits() -> Split:
    # Not at the top: scikit-learn takes longer to import than the rest of this package.
    from sklearn.datasets import load_digits

    bundled = load_digits()
    images = bundled.images.astype(np.uint8)[:, None]
    return _split(DIGITS, images, bundled.target.astype(np.uint8))


def _split(
    name: str, images: UInt8[np.ndarray, "n channels height width"], labels: UInt8[np.ndarray, " n"]
) -> Split:
    from sklearn.model_selection import train_test_split

    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=_TEST_SIZES[name], stratify=labels, random_state=_SPLIT_SEED
    )
    return x_train, y_train, x_test, y_test


def _assemble(
    name: str,
    x_train: UInt8[np.ndarray, "train channels height width"],
    y_train: UInt8[np.ndarray, " train"],
    x_test: UInt8[np.ndarray, "test channels height width"],
    y_test: UInt8[np.ndarray, " test"],
    *,
    largest_pixel: int = 255,
    num_classes: int = 10,
) -> ImageData:
    mean, std = _moments(x_train)
    # One table entry per pixel value: rounded once, from float64.
    table = ((np.arange(largest_pixel + 1) - mean) / std).astype(np.float32)
    channels, height, width = x_train.shape[1:]
    return ImageData(
        name=name,
        x_train=torch.from_numpy(table[x_train].reshape(len(x_train), -1)),
        y_train=torch.from_numpy(y_train.astype(np.int64)),
        x_test=torch.from_numpy(table[x_test].reshape(len(x_test), -1)),
        y_test=torch.from_numpy(y_test.astype(np.int64)),
        shape=(channels, height, width),
        num_classes=num_classes,
        mean=mean / largest_pixel,
        std=std / largest_pixel,
    )


def _moments(pixels: UInt8[np.ndarray, "..."]) -> tuple[float, float]:
    """Mean and (population) standard deviation of all pixels, from exact integer sums."""
    flat = pixels.ravel()
    total = int(flat.sum(dtype=np.uint64))
    total_of_squares = int(np.einsum("i,i->", flat, flat, dtype=np.uint64))
    variance = (flat.size * total_of_squares - total**2) / flat.size**2
    return total / flat.size, variance**0.5
