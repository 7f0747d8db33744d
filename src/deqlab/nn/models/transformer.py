"""Transformers over tokens: one that is looped to its equilibrium, and explicit ones beside it.

Both embed tokens and positions, x = e + p, and read the logits of every position off the state by
the embedding's own weights (Press & Wolf 2017, "Using the output embedding to improve language
models"). Between them stands what they differ in: a DEQ around a `TransformerCell`, or so many
blocks of the same kind. `transformer_twins` has the explicit one that a DEQ is compared with.
Padding is a state of 0 that no token sees: blocks have no biases, so that it is at rest there.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.nn.attention import EPS, seen
from deqlab.nn.cells.transformer import TransformerCell
from deqlab.nn.deq import DEQ
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
    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        *,
        present: Tensor | None = None,
        **keywords: Any,
    ) -> Float[Tensor, "B T n"]:
        """Return the logits; the arguments are those of `states`."""
        return self.logits(self.states(tokens, present=present, **keywords))

    def states(
        self,
        tokens: Int[Tensor, "B T"],
        *,
        present: Tensor | None = None,
        **keywords: Any,  # noqa: ANN401
    ) -> Float[Tensor, "B T d"]:
        """Return what the body makes of every position.

        Args:
            tokens: The sequences.
            present: Bool (B, T), False for padding, which may stand anywhere; None if there is
                none. Tokens do not see it, their positions do not count it, and its state is 0,
                so that a solve goes as it does without padding. A body takes it as its mask.
            keywords: What the body takes beside x: a mask, the z0 of a DEQ.

        Raises:
            TypeError: `present` is no boolean tensor.
            ValueError: It has not the shape of the tokens; or there are more tokens than the
                positions that the model knows.
        """
        x = self.embedded(tokens, present=present)
        if present is None:
            states: Tensor = self.body(x, **keywords)
            return states
        # Blocks have no biases and padding sees itself alone, so that f(0, 0) = 0 there, exactly.
        mask = present[..., None, :] & present[..., None]
        states = self.body(x, mask=mask, **keywords)
        # Nothing goes back into padding either, where f has a slope of 1 / sqrt(eps).
        return states.masked_fill(~present[..., None], 0)

    def embedded(
        self, tokens: Int[Tensor, "B T"], *, present: Tensor | None = None
    ) -> Float[Tensor, "B T d"]:
        """Return x, what stands at each position and where; see `states`."""
        if present is None:
            self._check_length(tokens.shape[-1])
            x: Tensor = self.embedding(tokens) + self.position.weight[: tokens.shape[-1]]
            return x
        _check_present(present, tokens)
        if present.shape[-1] > self.position.num_embeddings:
            self._check_length(int(present.sum(dim=-1).max()))
        positions = (present.cumsum(dim=-1) - 1).clamp_min(0)
        x = self.embedding(tokens) + self.position(positions)
        return x.masked_fill(~present[..., None], 0)

    def logits(self, state: Float[Tensor, "*B d"]) -> Float[Tensor, "*B n"]:
        """Return the logits that the model reads off what its body returns."""
        return linear(self.norm(state), self.embedding.weight)

    def _check_length(self, length: int) -> None:
        if length > self.position.num_embeddings:
            raise ValueError(
                f"the model knows {self.position.num_embeddings} positions, got sequences of "
                f"length {length}: cut them, or make it with a larger length"
            )


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


def _check_present(present: object, tokens: Tensor) -> None:
    if not isinstance(present, Tensor) or present.dtype != torch.bool:
        got = (
            f"a tensor of {present.dtype}"
            if isinstance(present, Tensor)
            else type(present).__name__
        )
        raise TypeError(f"present must be a boolean tensor, False for padding, got {got}")
    if present.shape != tokens.shape:
        raise ValueError(
            f"present must have the shape of the tokens, {tuple(tokens.shape)}, got "
            f"{tuple(present.shape)}"
        )
