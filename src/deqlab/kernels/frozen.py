"""Networks whose random layers are frozen: features once, then a linear readout on them.

Since only the readout is trained, an epoch never has to go through the random layers, nor to
solve for an equilibrium, again: the features are those that it would find.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from deqlab.kernels.network import ExplicitNetwork, ImplicitNetwork
from deqlab.solution import Solution

Network: TypeAlias = ExplicitNetwork | ImplicitNetwork

ROWS = 1000
"""How many samples go through the random layers at a time."""


@torch.no_grad()
def features(
    network: Network,
    x: Float[Tensor, "n p"],
    on_solve: Callable[[Solution], None] = lambda solution: None,
) -> Float[Tensor, "n m"]:
    """Return the last hidden layer of each row, or its equilibrium.

    Args:
        network: A network whose random layers are frozen.
        x: Inputs, one a row.
        on_solve: Called with each solve of a DEQ.
    """
    found = []
    for rows in x.split(ROWS):
        if isinstance(network, ImplicitNetwork):
            solution = network.solve(rows)
            assert isinstance(solution.value, Tensor)
            found.append(solution.value)
            on_solve(solution)
        else:
            found.append(network.features(rows))
    return torch.cat(found)


@torch.no_grad()
def outputs(network: Network, x: Float[Tensor, "n p"]) -> Float[Tensor, "n k"]:
    """Return the outputs of the network: its whole forward pass."""
    result: Tensor = network.readout(features(network, x))
    return result


@torch.no_grad()
def train_readout(
    readout: nn.Linear,
    h: Float[Tensor, "n m"],
    y: Int64[Tensor, " n"],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> float:
    """Minimise the cross-entropy on features by SGD, and return it, on all of them, at the end.

    Args:
        readout: Trained in place.
        h: Features.
        y: Their classes.
        epochs: Passes over them.
        batch_size: Rows of a step; the last of an epoch may have fewer.
        learning_rate: Constant.
        generator: Draws the order of each epoch.
    """
    targets = one_hot(y, readout.out_features).to(h.dtype)
    for _ in range(epochs):
        for part in torch.randperm(len(h), generator=generator).split(batch_size):
            rows = h[part]
            # The gradient at the outputs; by hand, since a tape would take longer than the rest.
            slope = (torch.softmax(readout(rows), dim=1) - targets[part]) / len(part)
            readout.weight.sub_(learning_rate * slope.T @ rows)
            readout.bias.sub_(learning_rate * slope.sum(dim=0))
    loss: float = cross_entropy(readout(h), y).item()
    return loss


@torch.no_grad()
def accuracy(readout: nn.Linear, h: Float[Tensor, "n m"], y: Int64[Tensor, " n"]) -> float:
    """Return the share of right classes."""
    right: Tensor = readout(h).argmax(dim=1) == y
    return right.double().mean().item()
