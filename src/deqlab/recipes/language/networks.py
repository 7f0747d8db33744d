"""The networks that learn language: one tied block at its equilibrium, and what is beside it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.nn.models.hybrid import hybrid_transformer
from deqlab.nn.models.transformer import (
    Transformer,
    equilibrium_transformer,
    explicit_transformer,
)
from deqlab.nn.models.transformer_twins import layers_of_equal_flops
from deqlab.recipes.language.config import LanguageConfig
from deqlab.recipes.language.data import Text, windows
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver

EXACT = Implicit(solver=GMRES(rtol=5e-2, max_products=10))

Make = Callable[[LanguageConfig, Text], Transformer]


def deq(blocks: int = 1, gradient: Gradient = EXACT, cap: float | None = None) -> Make:
    """Return what makes the network whose blocks are at their equilibrium, or are looped.

    Args:
        blocks: Blocks inside of f.
        gradient: Of the layer.
        cap: Of the feedback at the start; None is that of the config.
    """

    def make(config: LanguageConfig, text: Text) -> Transformer:
        return equilibrium_transformer(
            *_sizes(config, text),
            blocks=blocks,
            cap=config.cap if cap is None else cap,
            solver=_solver(config),
            gradient=gradient,
            on_failure="ignore",  # the log of the run speaks up
        )

    return make


def hybrid(config: LanguageConfig, text: Text) -> Transformer:
    """Return the network with explicit blocks in front of one at its equilibrium."""
    return hybrid_transformer(
        *_sizes(config, text),
        layers=config.layers,
        cap=config.cap,
        solver=_solver(config),
        gradient=EXACT,
        on_failure="ignore",
    )


def explicit(layers: int | None = None) -> Make:
    """Return what makes the network of so many blocks; None is as many as the hybrid has."""

    def make(config: LanguageConfig, text: Text) -> Transformer:
        count = config.layers + 1 if layers is None else layers
        return explicit_transformer(*_sizes(config, text), layers=count)

    return make


def explicit_of_flops(config: LanguageConfig, text: Text, flops: float) -> nn.Module:
    """Return the network of as many blocks as take most nearly so many FLOPs in a step."""
    generator = torch.Generator().manual_seed(0)
    tokens, _ = windows(text.train, config.batch_size, config.length, generator)
    layers = layers_of_equal_flops(deq()(config, text), tokens, budget=round(flops))
    return explicit(layers)(config, text)


def _sizes(config: LanguageConfig, text: Text) -> tuple[int, int, int, int]:
    return text.tokens.num_tokens, config.length, config.width, config.heads


def _solver(config: LanguageConfig) -> Solver[Any]:
    return Anderson(rtol=1e-2, max_steps=config.max_steps)
