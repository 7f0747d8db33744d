"""Dimensions in front of a sample, as `nn.Linear` takes any number of them.

A cell of vectors maps x (..., n) and z (..., m) to (..., m). A solve has one batch dimension: it
sees these as (N, n) and (N, m), with N the product of the dimensions in front, 1 if there are none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Leading:
    """The dimensions in front of a sample, all of which the rows of a batch count.

    Attributes:
        shape: Their sizes.
    """

    shape: torch.Size

    @classmethod
    def of(cls, x: object, sample_dims: int) -> "Leading":
        """Return the dimensions of x in front of the last `sample_dims` ones.

        Raises:
            TypeError: x is no tensor.
            ValueError: It has fewer dimensions than one sample.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"the input must be a tensor, got {type(x).__name__}")
        if x.ndim < sample_dims:
            raise ValueError(
                f"one sample of the input has {sample_dims} dimension{'s' * (sample_dims > 1)}, "
                f"and there may be others in front; got the shape {tuple(x.shape)}"
            )
        return cls(x.shape[: x.ndim - sample_dims])

    @property
    def is_batch(self) -> bool:
        """Whether there is one such dimension, and nothing to flatten."""
        return len(self.shape) == 1

    def flatten(self, state: Any) -> Any:  # noqa: ANN401  # a tensor or containers of tensors
        """Return each tensor (*shape, *S) of `state` as (N, *S)."""
        return state if self.is_batch else tree_map(self._flat, state)

    def flatten_state(self, state: Any) -> Any:  # noqa: ANN401
        """Return the same of a state whose dimensions in front may be others.

        Raises:
            ValueError: They are.
        """
        dims = len(self.shape)
        for tensor in tree_leaves(state):
            if isinstance(tensor, Tensor) and tensor.shape[:dims] != self.shape:
                raise ValueError(
                    f"the input has the dimensions {tuple(self.shape)} in front of each sample, "
                    f"and the state must have them too, got the shape {tuple(tensor.shape)}"
                )
        return self.flatten(state)

    def restore(self, state: Any) -> Any:  # noqa: ANN401
        """Return each tensor (N, *S) of `state` as (*shape, *S)."""
        return state if self.is_batch else tree_map(self._restored, state)

    def _flat(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(math.prod(self.shape), *tensor.shape[len(self.shape) :])

    def _restored(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(*self.shape, *tensor.shape[1:])


def flattened(
    sample_dims: int, inputs: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[Leading, tuple[Any, ...], dict[str, Any]]:
    """Return the dimensions in front of the first input, and the inputs with that one flattened.

    Raises:
        TypeError: There is no input, or the first is no tensor.
        ValueError: It has fewer dimensions than one sample.
    """
    values = [*inputs, *keywords.values()]
    leading = Leading.of(values[0] if values else None, sample_dims)
    values[:1] = [leading.flatten(values[0])]
    names = dict(zip(keywords, values[len(inputs) :], strict=True))
    return leading, tuple(values[: len(inputs)]), names
