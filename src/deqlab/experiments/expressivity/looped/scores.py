"""What a trained network is worth: as it was trained, and solved to the end.

A loop is its k-th iterate; the same weights solved to their equilibrium are another function. A DEQ
is what its solve came to, so that the two are one. An FNN has nothing to solve.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from deqlab.experiments.base import Row
from deqlab.experiments.comparing.arms import forward
from deqlab.experiments.expressivity.looped.networks import NetworksConfig
from deqlab.nn.deq import DEQ
from deqlab.stability.equilibria import Solves


@torch.no_grad()
def loss_as_trained(network: nn.Sequential, config: NetworksConfig, x: Tensor, y: Tensor) -> float:
    """Return the mean squared error of a loop at its last step, of a DEQ at its equilibrium."""
    return mse_loss(forward(as_trained(network, config), x)[0], y).item()


@torch.no_grad()
def scores(network: nn.Sequential, config: NetworksConfig, x: Tensor, y: Tensor) -> Row:
    """Return both losses on test points, and the shares of these at the equilibrium."""
    output, solution = forward(as_trained(network, config), x)
    row: Row = {"test_loss": mse_loss(output, y).item()}
    if solution is None:
        return row
    solves = Solves()
    solves.add(solution)
    row |= solves.row("residual", "converged", "evaluations")
    solved, end = forward(solved_to_the_end(network, config), x)
    assert end is not None
    return row | {
        "solved_loss": mse_loss(solved, y).item(),
        "solved_converged": end.converged.double().mean().item(),
        "solved_evaluations": end.evaluations,
    }


def as_trained(network: nn.Sequential, config: NetworksConfig) -> nn.Sequential:
    """Return a loop or an FNN as it is, and a DEQ solved to the end."""
    layer = network[0]
    seeks = isinstance(layer, DEQ) and layer.gradient.seeks_equilibrium
    return solved_to_the_end(network, config) if seeks else network


def solved_to_the_end(network: nn.Sequential, config: NetworksConfig) -> nn.Sequential:
    """Return the same weights at their equilibrium, with the patience of a test."""
    layer = network[0]
    assert isinstance(layer, DEQ)
    solver = replace(layer.solver, rtol=config.test_rtol, max_steps=config.test_max_steps)
    return nn.Sequential(DEQ(layer.cell, solver=solver, on_failure="ignore"), network[1])
