"""One block of a transformer, with the normalisation first.

    h <- h + Attn(RMS(h));    h <- h + MLP(RMS(h)),    MLP(y) = W_2 gelu(W_1 y)

RMS divides every position by the root mean square of its channels, and multiplies these by learned
gains. Sources: Vaswani et al. (2017), "Attention is all you need"; Xiong et al. (2020), "On layer
normalization in the transformer architecture" (the normalisation first); Zhang & Sennrich (2019),
"Root mean square layer normalization"; the initial weights are those of GPT-2 (Radford et al.
2019), Gaussian with standard deviation .02, divided by sqrt(2 depth) where they add to h.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.nn.attention import EPS, Attention

STD = 0.02
"""The standard deviation of the initial weights, of embeddings as well."""


class TransformerBlock(nn.Module):
    """Attention and a network of one hidden layer, each beside an identity branch.

    Shapes: (B, T, width) to the same.

    Args:
        width: Channels, a multiple of `heads`.
        heads: Heads of the attention.
        causal: Whether a position sees itself and what is before it, and nothing after it.
        query_key_norm: Whether queries and keys are normalised; see `nn.attention`.
        expansion: Hidden units of the MLP for each channel.
        depth: How many such blocks stand in a row; it scales initial weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        causal: bool = True,
        query_key_norm: bool = True,
        expansion: int = 4,
        depth: int = 1,
    ) -> None:
        super().__init__()
        check_count("expansion", expansion)
        check_count("depth", depth)
        self.attention = Attention(width, heads, causal=causal, normalised=query_key_norm)
        self.before_attention = nn.RMSNorm(width, eps=EPS)
        self.before_mlp = nn.RMSNorm(width, eps=EPS)
        self.up = nn.Linear(width, expansion * width, bias=False)
        self.down = nn.Linear(expansion * width, width, bias=False)
        with torch.no_grad():
            for inward in (self.attention.project, self.up):
                inward.weight.normal_(std=STD)
            for outward in (self.attention.out, self.down):
                outward.weight.normal_(std=STD / (2 * depth) ** 0.5)

    @override
    def forward(
        self, h: Float[Tensor, "B T d"], mask: Bool[Tensor, "B 1 T T"] | None = None
    ) -> Float[Tensor, "B T d"]:
        """Return h after the block.

        Args:
            h: The sequence.
            mask: What `nn.attention.seen` made for it, or None.
        """
        h = h + self.attention(self.before_attention(h), mask)
        out: Tensor = h + self.down(gelu(self.up(self.before_mlp(h))))
        return out
