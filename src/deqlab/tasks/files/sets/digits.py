"""Handwritten digits of 8 x 8 pixels with 17 shades, bundled with scikit-learn.

They come without a split; here it is fixed, stratified, with a fifth of the images for testing.
"""

import numpy as np

from deqlab.tasks.files.classification import stratified_split
from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.images import ImageData, image_data


def _make(dataset: Dataset[ImageData]) -> ImageData:
    # Not at the top: scikit-learn takes longer to import than the rest of this package.
    from sklearn.datasets import load_digits

    bundled = load_digits()
    images, labels = bundled.images.astype(np.uint8), bundled.target.astype(np.uint8)
    split = stratified_split(images, labels, num_test=dataset.splits["test"])
    return image_data(dataset, split, largest_pixel=16)


DIGITS = Dataset(
    name="digits",
    kind=ImageData,
    splits={"train": 1437, "test": 360},
    shape=(1, 8, 8),
    num_classes=10,
    source="Alpaydin & Kaynak (1998), UCI Machine Learning Repository",
    licence="CC BY 4.0",
    bundled_with="scikit-learn",
    make=_make,
)
