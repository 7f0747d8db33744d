"""A hybrid: explicit blocks, and an equilibrium that starts and is fed where they end.

    c = backbone(x);    z* = f(z*, c), from z0 = c

Sources: a backbone whose output is z0 and injection is that of Attractor (2026), with seven layers;
explicit layers in front of a DEQ are as old as Bai, Kolter & Koltun (2019), whose first layers
"warm up" without an equilibrium.
"""

from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from deqlab.nn.deq import DEQ
from deqlab.nn.models.transformer import (
    Transformer,
    TransformerLayers,
    equilibrium_transformer,
)
from deqlab.solution import Solution


class Hybrid(nn.Module):
    """An explicit network with an equilibrium behind it.

    Shapes: those of the backbone.

    Args:
        backbone: Maps x to c, in the shape of the state. It is given a `mask`, if the call has one.
        deq: The layer, whose input is c.
    """

    def __init__(self, backbone: nn.Module, deq: DEQ[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.deq = deq

    @override
    def forward(self, x: Tensor, **keywords: Any) -> Tensor:
        """Return z*; keywords are those of `solve`."""
        return self.solve(x, **keywords).value

    def solve(self, x: Tensor, *, z0: Tensor | None = None, **keywords: Any) -> Solution[Tensor]:  # noqa: ANN401
        """Return z* with the verdict on every sample.

        Args:
            x: What the backbone takes.
            z0: Where the solve starts, in place of c.
            keywords: What both take beside x: a mask.
        """
        return self.deq.solve(self.backbone(x, **keywords), z0=z0, **keywords)


def hybrid_transformer(
    num_tokens: int,
    length: int,
    width: int,
    heads: int,
    *,
    layers: int = 1,
    causal: bool = True,
    query_key_norm: bool = True,
    cap: float = 0.5,
    **options: Any,  # noqa: ANN401
) -> Transformer:
    """Return a transformer of explicit blocks, and of others that are looped to their equilibrium.

    What the explicit blocks return has root mean square 1 at every position, so that the gates of
    the cell start higher than those of `equilibrium_transformer`.

    Args:
        num_tokens: See `equilibrium_transformer`.
        length: Likewise.
        width: Likewise.
        heads: Likewise, of all blocks.
        layers: Explicit blocks.
        causal: Likewise, of all blocks.
        query_key_norm: Likewise.
        cap: Likewise.
        options: Its other arguments.

    Example:
        >>> import torch
        >>> model = hybrid_transformer(65, 16, 8, 2)
        >>> model(torch.randint(65, (3, 10))).shape
        torch.Size([3, 10, 65])
    """
    model = equilibrium_transformer(
        num_tokens,
        length,
        width,
        heads,
        causal=causal,
        query_key_norm=query_key_norm,
        cap=cap,
        **options,
    )
    backbone = TransformerLayers(
        width, heads, layers=layers, causal=causal, query_key_norm=query_key_norm
    )
    assert isinstance(model.body, DEQ)
    model.body = Hybrid(backbone, model.body)
    return model
