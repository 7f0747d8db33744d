"""The value of a data set of the user's, which is what the set says, or refused.

Those that deqlab brings are held to it by tests; a label that is out of range, or classes counted
from 1, would be found deep in a training, or never.
"""

from typing import Any

import torch
from torch import Tensor

from deqlab.own.target import told
from deqlab.tasks.files.classification import ClassificationData
from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.images import ImageData


def made(dataset: Dataset[Any], contents: tuple[Any, ...], *, name: str) -> Any:  # noqa: ANN401
    """Return what a data set makes of the content of its files.

    Args:
        dataset: The data set.
        contents: Of its files, in order.
        name: What sentences call it.

    Raises:
        DataError: It raises, or returns a value of another type, or one that does not have the
            inputs and classes that it says.
    """
    try:
        value = dataset.make(dataset, *contents)
    except DataError:
        raise
    except Exception as error:  # whatever code of the user's does
        raise DataError(f"the data set {name} cannot be made: {told(error)}") from error
    if not isinstance(value, dataset.kind):
        raise DataError(
            f"the data set {name} makes a {type(value).__name__}, and says that it makes a "
            f"{dataset.kind.__name__}"
        )
    if isinstance(value, ClassificationData):
        _check_part(value, value.x_train, value.y_train, f"the training part of {name}")
        _check_part(value, value.x_test, value.y_test, f"the test part of {name}")
    return value


def _check_part(data: ClassificationData, x: Tensor, y: Tensor, where: str) -> None:
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise DataError(
            f"{where} needs inputs (n, p) and classes (n,), and at least one of them; it has "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if x.dtype != torch.float32 or y.dtype != torch.int64:
        raise DataError(
            f"{where} needs inputs of float32 and classes of int64; it has {x.dtype} and {y.dtype}"
        )
    if isinstance(data, ImageData) and x.shape[1] != torch.Size(data.shape).numel():
        raise DataError(
            f"{where} has {x.shape[1]} numbers an image, and its shape is {tuple(data.shape)}"
        )
    if not bool(x.isfinite().all()):
        raise DataError(f"{where} has inputs that are nan or inf: remove or impute them")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= data.num_classes:
        raise DataError(
            f"{where} has classes from {low} to {high}, and {data.num_classes} classes are "
            f"counted from 0 to {data.num_classes - 1}"
        )
