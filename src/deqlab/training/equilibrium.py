"""Whether a trained network is at its equilibrium, and how much of its answers comes from there.

A network is tested as a DEQ to one tolerance, whatever it was trained with: rtol 1e-2, at most 40
steps. What it answers after k evaluations of f from its start shows what the feedback is worth: a
network that answers as well after one of them is an explicit one.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from typing_extensions import override

from deqlab.nn.deq import DEQ
from deqlab.runs.records import Row
from deqlab.solution import Solution
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of

Labelled: TypeAlias = tuple[Tensor, Tensor]
"""Inputs (N, ...) and their classes (N,), or (N, T) where each position of a sequence has one."""

RTOL, MAX_STEPS = 1e-2, 40
"""To what a network is solved where it is tested."""

BATCH = 250
"""Samples that are tested at a time."""

ITERATES = (0, 1, 2, 4)
"""After how many evaluations of f the answers are looked at."""


class Iterated(nn.Module):
    """The k-th iterate of a cell from its own start, in the place of a DEQ layer."""

    def __init__(self, deq: DEQ[Any], evaluations: int) -> None:
        super().__init__()
        self.cell, self.evaluations = deq.cell, evaluations

    @override
    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        z = self.cell.initial(*inputs, **keywords)  # type: ignore[operator]
        for _ in range(self.evaluations):
            z = self.cell(z, *inputs, **keywords)
        return z


def tested(model: nn.Module, data: Labelled) -> Row:
    """Return how a classifier does on labelled samples, and its DEQ layers among them.

    Returns:
        "test_accuracy" and "test_loss"; of a network with DEQ layers also "converged", the share
        of samples at their equilibrium in the worst layer, and "test_evaluations" of all layers
        together, the mean over batches.
    """
    layers = layers_of(model)
    solvers = {name: layer.solver for name, layer in layers.items()}
    seen: dict[str, list[Solution[None]]] = {name: [] for name in layers}
    tell = {name: solves.append for name, solves in seen.items()}
    for name, layer in layers.items():
        layer.solver = replace(layer.solver, rtol=RTOL, max_steps=MAX_STEPS)
        layer.observers.append(tell[name])
    try:
        row = evaluated(model, lambda model: _scored(model, data))
    finally:
        for name, layer in layers.items():
            layer.solver = solvers[name]
            layer.observers.remove(tell[name])
    if layers:
        shares = [
            torch.cat([solve.converged for solve in solves]).double().mean().item()
            for solves in seen.values()
        ]
        evaluations = sum(solve.evaluations for solves in seen.values() for solve in solves)
        batches = len(data[0].split(BATCH))
        row |= {"converged": min(shares), "test_evaluations": evaluations / batches}
    return row


def feedback(model: nn.Module, data: Labelled) -> Iterator[Row]:
    """Yield the accuracy after a few evaluations of f from the start, and at the equilibrium."""
    for count in ITERATES:
        iterated = copy.deepcopy(model)
        for name, layer in layers_of(iterated).items():
            iterated.set_submodule(name, Iterated(layer, count))
        accuracy = evaluated(iterated, lambda model: _scored(model, data))["test_accuracy"]
        yield {"iterate": str(count), "test_accuracy": accuracy}
    yield {"iterate": "equilibrium", "test_accuracy": tested(model, data)["test_accuracy"]}


def _scored(model: nn.Module, data: Labelled) -> Row:
    x, y = data
    scores = torch.cat([model(part) for part in x.split(BATCH)])
    return {
        "test_accuracy": (scores.argmax(dim=-1) == y).double().mean().item(),
        "test_loss": cross_entropy(scores.flatten(0, -2), y.flatten()).item(),
    }
