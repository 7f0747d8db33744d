"""Transformers over tokens: one that is looped to its equilibrium, and explicit ones beside it.

Both embed tokens and positions, x = e + p, and read the logits of every position off the state by
the embedding's own weights (Press & Wolf 2017, "Using the output embedding to improve language
models"). Between them stands what they differ in: a DEQ around a `TransformerCell`, or so many
blocks of the same kind. An explicit one has the parameters of the DEQ where it has as many blocks
as f, and its FLOPs where a training step costs as much: see `transformer_twin` and
`layers_of_equal_flops`.
"""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, rms_norm
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.nn.attention import EPS, seen
from deqlab.nn.cells.transformer import TransformerCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.twins import step_flops
from deqlab.nn.transformer_block import STD, TransformerBlock
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver


class TransformerLayers(nn.Module):
    """Blocks in a row and a last normalisation: what a `TransformerCell` with no feedback is.

    Shapes: x (B, T, width) to the same.

    Args:
        width: Channels, a multiple of `heads`.
        heads: Heads of the attention.
        layers: How many blocks.
        causal: See `TransformerCell`.
        query_key_norm: Likewise.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        layers: int,
        causal: bool = True,
        query_key_norm: bool = True,
    ) -> None:
        super().__init__()
        check_count("layers", layers)
        self.causal = causal
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width, heads, causal=causal, query_key_norm=query_key_norm, depth=layers
            )
            for _ in range(layers)
        )

    @override
    def forward(
        self, x: Float[Tensor, "B T d"], *, mask: Tensor | None = None
    ) -> Float[Tensor, "B T d"]:
        visible = None if mask is None else seen(mask, x, causal=self.causal)
        for block in self.blocks:
            x = block(x, visible)
        return rms_norm(x, x.shape[-1:], eps=EPS)


class Transformer(nn.Module):
    """Logits of the token at every position, from tokens.

    Shapes: tokens (B, T) to logits (B, T, num_tokens).

    Args:
        num_tokens: Tokens of the vocabulary.
        length: The longest sequence.
        width: Channels.
        body: Maps x (B, T, width) to the same.
    """

    def __init__(self, num_tokens: int, length: int, width: int, body: nn.Module) -> None:
        super().__init__()
        for name, count in (("num_tokens", num_tokens), ("length", length), ("width", width)):
            check_count(name, count)
        self.embedding = nn.Embedding(num_tokens, width)
        self.position = nn.Embedding(length, width)
        self.body = body
        self.norm = nn.RMSNorm(width, eps=EPS)
        for embedding in (self.embedding, self.position):
            nn.init.normal_(embedding.weight, std=STD)

    @override
    def forward(self, tokens: Int[Tensor, "B T"], **keywords: Any) -> Float[Tensor, "B T n"]:
        """Return the logits.

        Args:
            tokens: The sequences.
            keywords: What the body takes beside x: a mask, the z0 of a DEQ.

        Raises:
            ValueError: They are longer than the positions that the model knows.
        """
        length = tokens.shape[-1]
        if length > self.position.num_embeddings:
            raise ValueError(
                f"the model knows {self.position.num_embeddings} positions, got sequences of "
                f"length {length}: cut them, or make it with a larger length"
            )
        x = self.embedding(tokens) + self.position.weight[:length]
        return linear(self.norm(self.body(x, **keywords)), self.embedding.weight)


def equilibrium_transformer(
    num_tokens: int,
    length: int,
    width: int,
    heads: int,
    *,
    blocks: int = 1,
    causal: bool = True,
    query_key_norm: bool = True,
    cap: float = 0.04,
    solver: Solver[Any] = Anderson(rtol=1e-2, max_steps=20),
    gradient: Gradient = Implicit(solver=GMRES(rtol=5e-2, max_products=10)),
    on_failure: OnFailure = "warn",
) -> Transformer:
    """Return a transformer whose blocks are looped to their equilibrium.

    Args:
        num_tokens: See `Transformer`.
        length: Likewise.
        width: Likewise.
        heads: Heads of the attention.
        blocks: Blocks inside of f.
        causal: See `TransformerCell`.
        query_key_norm: Likewise.
        cap: Likewise.
        solver: The solver of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> model = equilibrium_transformer(65, 16, 8, 2)
        >>> model(torch.randint(65, (3, 10))).shape
        torch.Size([3, 10, 65])
    """
    cell = TransformerCell(
        width, heads, blocks=blocks, causal=causal, query_key_norm=query_key_norm, cap=cap
    )
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    return Transformer(num_tokens, length, width, deq)


def explicit_transformer(
    num_tokens: int,
    length: int,
    width: int,
    heads: int,
    *,
    layers: int,
    causal: bool = True,
    query_key_norm: bool = True,
) -> Transformer:
    """Return a transformer of so many blocks; see `equilibrium_transformer` for the arguments."""
    body = TransformerLayers(
        width, heads, layers=layers, causal=causal, query_key_norm=query_key_norm
    )
    return Transformer(num_tokens, length, width, body)


def transformer_twin(model: Transformer, *, layers: int | None = None) -> Transformer:
    """Return an explicit transformer of the sizes of one with a DEQ, with weights of its own.

    Args:
        model: The transformer with a DEQ around a `TransformerCell`.
        layers: How many blocks. None takes as many as f has: the twin of equal parameters, but
            for the gates.
    """
    blocks = _cell(model).blocks
    block = blocks[0]
    assert isinstance(block, TransformerBlock)
    twin = explicit_transformer(
        model.embedding.num_embeddings,
        model.position.num_embeddings,
        model.embedding.embedding_dim,
        block.attention.heads,
        layers=len(blocks) if layers is None else layers,
        causal=block.attention.causal,
        query_key_norm=block.attention.normalised,
    )
    return twin.to(model.embedding.weight)


def layers_of_equal_flops(
    model: Transformer, tokens: Int[Tensor, "B T"], *, budget: int | None = None
) -> int:
    """Return the layers with which the twin takes most nearly the FLOPs of a step of training.

    Args:
        model: The transformer with a DEQ.
        tokens: A batch as in training.
        budget: The FLOPs of a step of the DEQ. None counts one on these tokens, at the present
            weights: solves take more evaluations after training than before it.
    """
    budget = _step_flops(model, tokens) if budget is None else budget
    # Not on the meta device, where torch chooses another kernel for attention. A layer costs what
    # every other does.
    one, two = (_step_flops(transformer_twin(model, layers=n), tokens) for n in (1, 2))
    return max(1, round(1 + (budget - one) / (two - one)))


def _cell(model: Transformer) -> TransformerCell:
    cell = model.body.cell if isinstance(model.body, DEQ) else None
    if not isinstance(cell, TransformerCell):
        raise ValueError(
            "a twin is that of a Transformer whose body is DEQ(TransformerCell(...)), got a body "
            f"of {type(model.body).__name__}"
        )
    return cell


def _step_flops(model: Transformer, tokens: Tensor) -> int:
    return step_flops(
        model, lambda: cross_entropy(model(tokens).flatten(0, 1), tokens.flatten().long())
    )
