"""Self-attention of a sequence, with the kernels that torch fuses.

    Attn(y) = softmax(q k' / sqrt(e)) v W_o',    (q, k, v) = y W',    for each head of e channels

With query-key normalisation q and k are divided by their root mean square first, so that no logit
exceeds sqrt(e) however large the weights are (Henry, Dachapally, Pawar & Chen 2020, "Query-key
normalization for transformers", with the scale that attention has anyway). Masks are boolean, as
in `torch.nn.functional.scaled_dot_product_attention`: True where a query may see a key.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention
from typing_extensions import override

from deqlab.arguments import check_count

EPS = 1e-6
"""Added to a mean square before its root is divided by: f is then continuous at 0 as well."""


class Attention(nn.Module):
    """Self-attention with several heads and no biases.

    Shapes: (B, T, width) to the same.

    Args:
        width: Channels, a multiple of `heads`.
        heads: How many there are, at least 1.
        causal: Whether a position sees itself and what is before it, and nothing after it.
        normalised: Whether queries and keys are normalised.
    """

    def __init__(self, width: int, heads: int, *, causal: bool, normalised: bool) -> None:
        super().__init__()
        check_count("width", width)
        check_count("heads", heads)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads = {heads}, got {width}")
        self.heads = heads
        self.causal = causal
        self.normalised = normalised
        self.project = nn.Linear(width, 3 * width, bias=False)  # queries, keys, values
        self.out = nn.Linear(width, width, bias=False)

    @override
    def forward(
        self, y: Float[Tensor, "B T d"], mask: Bool[Tensor, "B 1 T T"] | None = None
    ) -> Float[Tensor, "B T d"]:
        """Return what every position takes from those that it sees.

        Args:
            y: The sequence.
            mask: What `seen` made for it; None if all is seen, but for what `causal` hides.
        """
        projected = self.project(y).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, heads, e)
        if self.normalised:
            q, k = rms_norm(projected[:, :, :2], projected.shape[-1:], eps=EPS).unbind(2)
            v = projected[:, :, 2]
        else:
            q, k, v = projected.unbind(2)
        heads = scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=mask,
            is_causal=self.causal and mask is None,
        )
        out: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return out

    @override
    def extra_repr(self) -> str:
        return f"heads={self.heads}, causal={self.causal}, normalised={self.normalised}"


def seen(mask: Tensor, y: Float[Tensor, "B T d"], *, causal: bool) -> Bool[Tensor, "B 1 T T"]:
    """Return which keys each query sees: those of the mask, what is before it, and itself.

    That every position sees itself keeps the softmax of padding from being one of nothing.

    Args:
        mask: Bool (..., T, T), True where a query may see a key; or (..., 1, T), the same for all
            queries. The dimensions in front count the sequences.
        y: The sequences.
        causal: Whether nothing after a position is seen.

    Raises:
        TypeError: The mask is no boolean tensor.
        ValueError: Its shape does not belong to these sequences.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = f"a tensor of {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a boolean tensor, True where a key may be seen, got {got}")
    count, length, _ = y.shape
    lines = mask.shape[-2] if mask.ndim > 1 else 0
    fits = mask.shape[-1:] == (length,) and lines in (1, length)
    if not fits or math.prod(mask.shape[:-2]) != count:
        raise ValueError(
            f"mask must be of shape (..., 1, {length}) or (..., {length}, {length}), with the "
            f"dimensions of {count} sequence{'s' * (count != 1)} of length {length} in front, got "
            f"{tuple(mask.shape)}"
        )
    visible = mask.reshape(count, 1, lines, length)
    if causal:
        visible = visible & mask.new_ones(length, length).tril()
    return visible | torch.eye(length, dtype=torch.bool, device=mask.device)
