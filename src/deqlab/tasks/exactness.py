"""How right answers of several parts are: puzzles with cells, strings with bits, mazes with pixels.

A sample counts as solved only where every part of its answer is right. For answers of n parts that
are right with probability p each, independently of one another, the share of solved samples is p^n:
99 % of right bits are 7 % of right strings of 256 bits.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Exactness:
    """How many answers are right.

    Attributes:
        solved: Share of the samples that are right in every part.
        parts: Share of all parts that are right.
    """

    solved: float
    parts: float


def exact_score(
    predictions: Shaped[Tensor, "*shape"], targets: Shaped[Tensor, "*right"]
) -> Exactness:
    """Compare predicted classes with the right ones.

    Args:
        predictions: Classes, as whole numbers or booleans, of shape (N, ...): N samples.
        targets: The right ones, of the same shape.

    Raises:
        TypeError: One of them has floating-point numbers, such as logits.
        ValueError: The shapes differ, or there is nothing to compare.

    Example:
        >>> exact_score(torch.tensor([[1, 0], [1, 1]]), torch.tensor([[1, 0], [0, 1]]))
        Exactness(solved=0.5, parts=0.75)
    """
    for name, classes in (("predictions", predictions), ("targets", targets)):
        if classes.is_floating_point() or classes.is_complex():
            raise TypeError(
                f"{name} must be classes, whole numbers or booleans, got {classes.dtype}; of "
                "logits take the argmax first"
            )
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions must have the shape of the targets, {tuple(targets.shape)}, got "
            f"{tuple(predictions.shape)}"
        )
    if targets.ndim < 1 or targets.numel() == 0:
        raise ValueError(
            f"at least one sample with one part is compared, got shape {tuple(targets.shape)}"
        )
    right = (predictions == targets).reshape(len(targets), -1)
    return Exactness(solved=_mean(right.all(dim=1)), parts=_mean(right))


def _mean(right: Shaped[Tensor, "*shape"]) -> float:
    return right.mean(dtype=torch.float64).item()
