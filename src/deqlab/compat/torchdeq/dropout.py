"""Dropout whose mask stays what it is until `reset_dropout`, as in torchdeq.

In deqlab this is what `nn.Dropout` does in a solve: every evaluation draws the numbers of the first
again. These layers keep their mask beyond the solve too, and in the steps that follow it.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override


class VariationalDropout(nn.Module):
    """Sets numbers of the input to zero, the same ones until `reset_dropout`.

    Args:
        dropout: The probability of a number to be zero, in [0, 1).
    """

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.dropout = dropout
        self.mask: Tensor | None = None

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return x
        shape = self.mask_shape(x.shape)
        if self.mask is None:
            kept = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.dropout)
            self.mask = kept / (1 - self.dropout)
        if self.mask.shape != shape:
            raise ValueError(
                f"the mask is for an input of shape {tuple(self.mask.shape)}, and this one takes "
                f"{tuple(shape)}: call reset_dropout(model), or reset_deq, before each batch"
            )
        return x * self.mask

    def mask_shape(self, shape: torch.Size) -> torch.Size:
        """Return the shape of the mask for an input of some shape."""
        return shape


class _Shared(VariationalDropout):
    """One number of the mask for all tokens, or for all features.

    Args:
        dropout: As in `VariationalDropout`.
        token_first: Whether the features are the last dimension, (B, L, D), or (B, D, L).
    """

    spatial = 1
    drops_tokens = False

    def __init__(self, dropout: float = 0.5, token_first: bool = True) -> None:
        super().__init__(dropout)
        self.token_first = token_first

    @override
    def mask_shape(self, shape: torch.Size) -> torch.Size:
        if len(shape) != self.spatial + 2:
            raise ValueError(
                f"{type(self).__name__} takes inputs of {self.spatial + 2} dimensions, got "
                f"{len(shape)}"
            )
        channel = len(shape) - 1 if self.token_first else 1
        return torch.Size(
            size if axis == 0 or (axis == channel) != self.drops_tokens else 1
            for axis, size in enumerate(shape)
        )


class VariationalDropout1d(_Shared):
    """Sets features of (B, L, D) to zero, in all tokens of a sample."""


class VariationalDropout2d(_Shared):
    """Sets features of (B, H, W, D) to zero, at all places of a sample."""

    spatial = 2


class VariationalDropout3d(_Shared):
    """Sets features of (B, T, H, W, D) to zero, at all places of a sample."""

    spatial = 3


class VariationalDropToken1d(_Shared):
    """Sets tokens of (B, L, D) to zero, with all their features."""

    drops_tokens = True


class VariationalDropToken2d(VariationalDropout2d):
    """Sets places of (B, H, W, D) to zero, with all their features."""

    drops_tokens = True


class VariationalDropToken3d(VariationalDropout3d):
    """Sets places of (B, T, H, W, D) to zero, with all their features."""

    drops_tokens = True


def reset_dropout(model: nn.Module) -> None:
    """Let every variational dropout of a model draw a new mask at its next call."""
    for module in model.modules():
        if isinstance(module, VariationalDropout):
            module.mask = None
