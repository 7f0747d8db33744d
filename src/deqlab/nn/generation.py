"""Text, token by token, from a transformer over tokens.

A token that is added changes what a causal DEQ finds at no position before it. So the solve for the
next token starts where the last one ended, and at the new position from the equilibrium of the last
token: a warm start. Once the sequence is as long as the model allows, its older half is left out,
and what was found moves with the rest, to positions where it is a worse start: that happens once in
half a length, and not at every token.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from deqlab.arguments import check_count, check_number
from deqlab.nn.models.transformer import Transformer
from deqlab.solution import Solution


@runtime_checkable
class Solves(Protocol):
    """A body of a transformer that is at an equilibrium: a `DEQ`, or a `Hybrid`."""

    def solve(self, x: Tensor, *, z0: Tensor | None = None) -> Solution[Tensor]:
        """Return z* with its verdicts."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a model has added to a text.

    Attributes:
        tokens: The given tokens, and those that follow, (B, T + count).
        evaluations: Evaluations of f for each new token, (count,); of an explicit model, ones.
        converged: The share of solves at their equilibrium, or None for an explicit model.
    """

    tokens: Int64[Tensor, "B T"]
    evaluations: Int64[Tensor, " count"]
    converged: float | None


def generate(
    model: Transformer,
    tokens: Int[Tensor, "B T"],
    count: int,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    warm_start: bool = True,
) -> Generated:
    """Return a text that goes on as the model finds likely.

    The model is taken in eval mode and left as it was.

    Args:
        model: The model; a DEQ in it must be causal.
        tokens: What the text begins with, at least one token. Of one longer than the model allows
            the end is seen.
        count: How many tokens to add, at least 1.
        temperature: What logits are divided by, more than 0; 0 takes the likeliest token.
        generator: Draws the tokens; None is torch's own.
        warm_start: Whether a solve starts where the last one ended. Without, each starts anew.

    Raises:
        ValueError: There is no token to begin with, or a number is out of its domain.

    Example:
        >>> from deqlab.nn import equilibrium_transformer
        >>> model = equilibrium_transformer(65, 16, 8, 2)
        >>> generate(model, torch.tensor([[1, 2, 3]]), 5).tokens.shape
        torch.Size([1, 8])
    """
    check_count("count", count)
    check_number("temperature", temperature)
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, and finite, got {temperature}")
    if tokens.ndim != 2 or not tokens.shape[1]:
        raise ValueError(
            "generate needs sequences (B, T) of at least one token to begin with, got the shape "
            f"{tuple(tokens.shape)}"
        )
    length = model.position.num_embeddings
    state: Tensor | None = None
    first = max(0, tokens.shape[1] - length)  # the first token that is seen
    evaluations, converged = [], []
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for _ in range(count):
                if tokens.shape[1] - first > length:
                    first = tokens.shape[1] - (length + 1) // 2
                x = model.embedded(tokens[:, first:])
                solved = _solved(model.body, x, state if warm_start else None)
                if isinstance(solved, Solution):
                    state = solved.value
                    evaluations.append(solved.evaluations)
                    converged.append(solved.converged.double().mean().item())
                else:
                    state = solved
                    evaluations.append(1)
                logits = model.logits(state[:, -1])
                tokens = torch.cat([tokens, _drawn(logits, temperature, generator)], dim=1)
    finally:
        model.train(training)
    share = sum(converged) / len(converged) if converged else None
    return Generated(tokens=tokens, evaluations=torch.tensor(evaluations), converged=share)


def _solved(
    body: Any,  # noqa: ANN401, an nn.Module
    x: Float[Tensor, "B T d"],
    before: Float[Tensor, "B S d"] | None,
) -> Solution[Tensor] | Tensor:
    """Return what the body finds at x, from the state of the sequence without its last token."""
    if not isinstance(body, Solves):
        result: Tensor = body(x)
        return result
    if before is None:
        return body.solve(x)
    kept = before[:, -(x.shape[1] - 1) :] if x.shape[1] > 1 else before[:, :0]
    return body.solve(x, z0=torch.cat([kept, before[:, -1:]], dim=1))


def _drawn(
    logits: Float[Tensor, "B n"], temperature: float, generator: torch.Generator | None
) -> Int64[Tensor, "B 1"]:
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    weights = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(weights, 1, generator=generator)
