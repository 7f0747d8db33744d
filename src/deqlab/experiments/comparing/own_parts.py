"""Parts of a comparison that are the user's: a cell in the place of ours, or a network beside ours.

The fields `cell` and `model` of a config name them as MODULE:NAME. Each is made, and tried on a
batch, before a run begins, so that one that does not fit is refused in a sentence.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from deqlab.nn.deq import DEQ
from deqlab.nn.equation import unwrapped
from deqlab.own.target import OwnCodeError, named, told

T = TypeVar("T")

TRIED = 2
"""Samples of the batch that a part is tried on."""


def own_module(target: str, what: str, *sizes: Any) -> nn.Module:  # noqa: ANN401
    """Return a module of the user's.

    Args:
        target: MODULE:NAME of its class, or of a function that returns it.
        what: How it is called, for the sentence that it cannot be, such as "NAME(width)".
        sizes: What it is called with.

    Raises:
        OwnCodeError: There is no such thing, it cannot be called so, or it is no module.
    """
    make = named(target)
    if not callable(make) or isinstance(make, nn.Module):
        raise OwnCodeError(f"{target} is made as {what}, and a {type(make).__name__} cannot be")
    module = _tried(lambda: make(*sizes), f"{target}, made as {what},")
    if not isinstance(module, nn.Module):
        raise OwnCodeError(
            f"{target}, made as {what}, must return a torch.nn.Module, got a "
            f"{type(module).__name__}"
        )
    return module


def try_cell(target: str, layer: DEQ[Any], x: Tensor, state: tuple[int, ...]) -> None:
    """Raise OwnCodeError unless a cell has a state of the shape that is read, and a gradient.

    Args:
        target: What sentences call it.
        layer: The DEQ layer that has the cell.
        x: Inputs, TRIED samples.
        state: The shape of a sample's state.
    """
    layer = DEQ(layer.cell, solver=replace(layer.solver, max_steps=3), on_failure="ignore")
    with torch.random.fork_rng([]), torch.no_grad():
        z = _tried(lambda: layer.solve(x).value, f"{target} at inputs of shape {tuple(x.shape)}")
        if not isinstance(z, Tensor) or z.shape != (len(x), *state):
            got = tuple(z.shape) if isinstance(z, Tensor) else f"a {type(z).__name__}"
            raise OwnCodeError(
                f"{target} has a state of shape {got} at inputs of shape {tuple(x.shape)}, and "
                f"what stands behind it reads {(len(x), *state)}"
            )
    if not any(p.requires_grad for p in unwrapped(layer.cell).parameters()):
        raise OwnCodeError(f"{target} has no parameter that trains")


def try_model(target: str, loss: Callable[[], Tensor]) -> None:
    """Raise OwnCodeError unless the loss of a batch is a number with a gradient.

    Args:
        target: What sentences call the network.
        loss: Its loss.
    """
    with torch.random.fork_rng([]):
        found = _tried(loss, f"{target} on a batch")
    if found.shape != () or not found.requires_grad:
        raise OwnCodeError(
            f"{target} has a loss of shape {tuple(found.shape)} that "
            f"{'has a' if found.requires_grad else 'has no'} gradient, and a number that has one "
            "is needed: it has no parameter that trains, or outputs of another shape"
        )


def _tried(call: Callable[[], T], what: str) -> T:
    try:
        return call()
    except Exception as error:  # whatever code of the user's does
        raise OwnCodeError(f"{what} raised {told(error)}") from error
