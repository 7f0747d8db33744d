"""Whether a trained network is at its equilibrium, and how much of its answers comes from there.

A network is tested as a DEQ to one tolerance, whatever it was trained with: rtol 1e-2, at most 40
steps. What it answers after k evaluations of f from its start shows what the feedback is worth: a
network that answers as well after one of them is an explicit one.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from deqlab.gradients.loops import AtStart, Loops
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

ITERATES = (0, 1, 2, 4, 8)
"""After how many evaluations of f the answers are looked at."""


def each_part(scores: Tensor, y: Tensor) -> Row:
    """Return the share of right classes, and the cross entropy, over all samples and positions."""
    return {
        "test_accuracy": (scores.argmax(dim=-1) == y).double().mean().item(),
        "test_loss": cross_entropy(scores.flatten(0, -2), y.flatten()).item(),
    }


def assessed(
    model: nn.Module,
    data: Labelled,
    score: Callable[[Tensor, Tensor], Row] = each_part,
    *,
    rtol: float = RTOL,
    max_steps: int = MAX_STEPS,
) -> Row:
    """Return how a classifier does on labelled samples, and its DEQ layers among them.

    Args:
        model: The classifier.
        data: The samples and their classes.
        score: Returns what is known of the scores (N, ..., classes) of all samples.
        rtol: To what its layers are solved.
        max_steps: In how many steps at most. With more than MAX_STEPS the patience of solvers
            grows by as many.

    Returns:
        What `score` does; of a network with DEQ layers also "converged", the share
        of samples at their equilibrium in the worst layer, "residual", their relative residual,
        the median sample of that layer, and "test_evaluations" of all layers together, the mean
        over batches.
    """
    layers = layers_of(model)
    solvers = {name: layer.solver for name, layer in layers.items()}
    seen: dict[str, list[Solution[None]]] = {name: [] for name in layers}
    tell = {name: solves.append for name, solves in seen.items()}
    for name, layer in layers.items():
        layer.solver = replace(
            layer.solver,
            rtol=rtol,
            max_steps=max_steps,
            patience=layer.solver.patience + max(0, max_steps - MAX_STEPS),
        )
        layer.observers.append(tell[name])
    try:
        row = evaluated(model, lambda model: score(_scores(model, data[0]), data[1]))
    finally:
        for name, layer in layers.items():
            layer.solver = solvers[name]
            layer.observers.remove(tell[name])
    if layers:
        shares = [
            torch.cat([solve.converged for solve in solves]).double().mean().item()
            for solves in seen.values()
        ]
        residuals = [
            torch.cat([rtol * solve.residual / solve.tolerance for solve in solves]).median().item()
            for solves in seen.values()
        ]
        evaluations = sum(solve.evaluations for solves in seen.values() for solve in solves)
        batches = len(data[0].split(BATCH))
        row |= {
            "converged": min(shares),
            "residual": max(residuals),
            "test_evaluations": evaluations / batches,
        }
    return row


def verdicts(model: nn.Module) -> Row:
    """Return what the DEQ layers of a network told of the solves that they just ended."""
    layers = layers_of(model).values()
    solves = [layer.last for layer in layers if layer.last is not None]
    if not solves:
        return {}
    pairs = zip(layers, solves, strict=True)
    return {
        "converged": min(solve.converged.double().mean().item() for solve in solves),
        "residual": max(
            (layer.solver.rtol * solve.residual / solve.tolerance).max().item()
            for layer, solve in pairs
        ),
        "test_evaluations": sum(solve.evaluations for solve in solves) / len(solves),
    }


def at_iterates(model: nn.Module, test: Callable[[nn.Module], Row]) -> Iterator[Row]:
    """Yield how a network does after a few evaluations of f from the start, and as it is.

    Rows have "iterate", in words, "loops", the evaluations of f, and what the test tells.

    Args:
        model: The network, which is left as it was.
        test: Returns what is known of a network, as `assessed` does.
    """
    for count in ITERATES:
        iterated = copy.deepcopy(model)
        for layer in layers_of(iterated).values():
            layer.gradient = Loops(steps=count) if count else AtStart()
        yield {"iterate": str(count), "loops": count, **test(iterated)}
    row = test(model)
    yield {"iterate": "equilibrium", "loops": row["test_evaluations"], **row}


def _scores(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([model(part) for part in x.split(BATCH)])
