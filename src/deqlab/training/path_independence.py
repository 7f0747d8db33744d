"""Whether what a network finds depends on where its solves start.

Source: Anil et al. (2022), "Path Independent Equilibrium Models Can Better Exploit Test-Time
Computation", whose score compares fixed points by the cosine of the angle between them: networks
that find the same from everywhere gain from more steps than they were trained with, and others
lose.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.utils._pytree import tree_leaves

from deqlab.arguments import check_count
from deqlab.nn.starts import Noise
from deqlab.solution import Solution
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of

AGREE = 0.1
"""Two states agree that are as near as this to each other, relative to their size: ten times what
solves are held to where a network is tested."""

NOTHING = 1e-6
"""A state is zero that is as small as this beside the first step of its solve: it has no size to be
measured by, and agrees with another that is zero."""


@dataclass(frozen=True, kw_only=True)
class PathIndependence:
    """How well several starts agree.

    Attributes:
        cosine: The cosine between what two starts end in, the mean over samples and pairs, in the
            layer where it is least; 1 for two states that are zero.
        same_state: The share of samples whose starts all end within AGREE of each other, or all in
            zero, likewise.
        same_answer: The share of samples for which the network says the same from all starts: the
            same classes at every position.
    """

    cosine: float
    same_state: float
    same_answer: float


def path_independence(
    model: nn.Module, x: Tensor, *, starts: int = 4, start: nn.Module | None = None
) -> PathIndependence:
    """Return how well random starts agree.

    The model is taken in eval mode as it is: loops, if its layers loop.

    Args:
        model: Maps x to scores, whose last dimension counts classes.
        x: The inputs.
        starts: How many starts, at least 2.
        start: What draws them for every layer; None is `Noise()`.

    Raises:
        ValueError: The model has no DEQ layer, or there are too few starts.

    Example:
        >>> from deqlab import DEQ
        >>> from deqlab.nn import DenseCell, SpectralNorm
        >>> layer = DEQ(DenseCell(3, 5, constraint=SpectralNorm(0.5)))
        >>> path_independence(layer, torch.randn(8, 3)).same_state
        1.0
    """
    check_count("starts", starts)
    if starts < 2:
        raise ValueError(
            f"starts must be at least 2, for there is nothing to compare, got {starts}"
        )
    layers = layers_of(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no DEQ layer, and so no start")
    begin = Noise() if start is None else start
    ends: list[dict[str, _End]] = []
    answers = []
    with _starting(model, begin) as found:
        for _ in range(starts):
            found.clear()
            scores = evaluated(model, _returns(x))["scores"]
            answers.append(scores.argmax(dim=-1).reshape(len(x), -1))
            ends.append(dict(found))
    same = torch.stack([(other == answers[0]).all(dim=1) for other in answers[1:]]).all(dim=0)
    cosines, agreeing = [], []
    for name in layers:
        states = [end[name] for end in ends]
        pairs = list(combinations(states, 2))
        cosines.append(torch.stack([_cosine(a, b) for a, b in pairs]).mean().item())
        near = torch.stack([_agree(a, b) for a, b in pairs]).all(dim=0)
        agreeing.append(near.double().mean().item())
    return PathIndependence(
        cosine=min(cosines), same_state=min(agreeing), same_answer=same.double().mean().item()
    )


def _returns(x: Tensor) -> Callable[[nn.Module], dict[str, Any]]:
    return lambda model: {"scores": model(x)}


class _End(NamedTuple):
    """What a solve ended in, sample by sample."""

    state: Float[Tensor, "B n"]
    is_zero: Bool[Tensor, " B"]

    @classmethod
    def of(cls, solution: Solution[Any]) -> "_End":
        parts = [part.flatten(1) for part in tree_leaves(solution.value)]
        state = torch.cat(parts, dim=1)
        return cls(state, state.norm(dim=1) <= NOTHING * solution.trace[0])


def _agree(a: _End, b: _End) -> Bool[Tensor, " B"]:
    size = torch.maximum(a.state.norm(dim=1), b.state.norm(dim=1))
    near: Tensor = (a.state - b.state).norm(dim=1) <= AGREE * size
    return near | (a.is_zero & b.is_zero)


def _cosine(a: _End, b: _End) -> Float[Tensor, " B"]:
    return torch.where(a.is_zero & b.is_zero, 1.0, cosine_similarity(a.state, b.state))


@contextmanager
def _starting(model: nn.Module, begin: nn.Module) -> Iterator[dict[str, _End]]:
    """Let every layer start so, and collect what its solves end in, by name."""
    layers = layers_of(model)
    before = {name: layer.start for name, layer in layers.items()}
    found: dict[str, _End] = {}

    def follow(name: str) -> None:
        layer = layers[name]
        solve = layer.solve

        def followed(*inputs: Any, **keywords: Any) -> Solution[Any]:  # noqa: ANN401
            solution = solve(*inputs, **keywords)
            found[name] = _End.of(solution)
            return solution

        layer.solve = followed  # type: ignore[method-assign]

    try:
        for name, layer in layers.items():
            layer.start = begin
            follow(name)
        yield found
    finally:
        for name, layer in layers.items():
            layer.start = before[name]
            del layer.solve
