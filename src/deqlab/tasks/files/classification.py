"""Classification sets: inputs and classes, with a part for training and a part for testing."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

_SPLIT_SEED = 0  # of sets that come without a split; it is part of the data set

Split: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training inputs, training classes, test inputs, test classes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationData:
    """A classification set, one input a row.

    Attributes:
        name: The name of the data set.
        x_train: The training inputs.
        y_train: Their classes, from 0 to num_classes - 1.
        x_test: The test inputs.
        y_test: Their classes.
        num_classes: The number of classes.
    """

    name: str
    x_train: Float32[Tensor, "train p"]
    y_train: Int64[Tensor, " train"]
    x_test: Float32[Tensor, "test p"]
    y_test: Int64[Tensor, " test"]
    num_classes: int


def stratified_split(x: np.ndarray, y: np.ndarray, *, num_test: int) -> Split:
    """Split samples at random, always in the same way, with equal shares of every class."""
    # Not at the top: scikit-learn takes longer to import than the rest of this package.
    from sklearn.model_selection import train_test_split

    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=num_test, stratify=y, random_state=_SPLIT_SEED
    )
    return x_train, y_train, x_test, y_test


def balanced_draw(
    labels: Int64[Tensor, " n"], num_samples: int, generator: torch.Generator
) -> Int64[Tensor, " m"]:
    """Return which samples to take, the classes in turn, each in random order.

    Args:
        labels: The class of each sample.
        num_samples: How many samples to take; all are taken if there are fewer.
        generator: Draws the order.
    """
    members = [(labels == c).nonzero()[:, 0] for c in labels.unique().tolist()]
    queues = [part[torch.randperm(len(part), generator=generator)] for part in members]
    turns = np.concatenate([np.arange(len(queue)) for queue in queues])
    order = torch.from_numpy(np.argsort(turns, kind="stable"))
    return torch.cat(queues)[order][:num_samples]
