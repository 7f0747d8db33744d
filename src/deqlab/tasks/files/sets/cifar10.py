"""The first 4,000 images of CIFAR-10, from one file that has to be put in its place.

The file holds `images` (4000, 32, 32, 3) and `labels` (4000,) as unsigned bytes: exactly the
first 4,000 entries of data_batch_1. They come without a split; here it is fixed, stratified, with
a fifth of the images for testing. Source: Krizhevsky (2009), "Learning Multiple Layers of Features
from Tiny Images".
"""

import numpy as np
from jaxtyping import UInt8

from deqlab.tasks.files.classification import stratified_split
from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.images import ImageData, image_data
from deqlab.tasks.files.npz import NpzArray, NpzFile

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
"""The names of its classes, in order."""


def _make(
    dataset: Dataset[ImageData],
    arrays: tuple[UInt8[np.ndarray, "n height width 3"], UInt8[np.ndarray, " n"]],
) -> ImageData:
    images, labels = arrays
    split = stratified_split(images.transpose(0, 3, 1, 2), labels, num_test=dataset.splits["test"])
    return image_data(dataset, split, class_names=CLASSES)


CIFAR10 = Dataset(
    name="cifar10",
    kind=ImageData,
    splits={"train": 3200, "test": 800},
    shape=(3, 32, 32),
    num_classes=10,
    source="Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
    licence="none stated",
    files=(
        NpzFile(
            name="cifar10_lossless_4000.npz",
            arrays=(
                NpzArray(
                    key="images",
                    shape=(4000, 32, 32, 3),
                    sha256="bac45b45504ed1289a3f437be4bfbefece248abbc094a428a0b4dfab00e776ae",
                ),
                NpzArray(
                    key="labels",
                    shape=(4000,),
                    sha256="2c365f60663d4e0eae47b2e7e1f85bef4375b295095eff8ce46a32be9415473c",
                ),
            ),
        ),
    ),
    make=_make,
)
