"""The networks of `chains`: one for each length, and a readout that looks at directions alone."""

from collections.abc import Callable
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from typing_extensions import override

from deqlab.costs import num_parameters
from deqlab.gradients.loops import Loops
from deqlab.nn.cells.graph import ImplicitGraphCell
from deqlab.nn.cells.linear_graph import LinearGraphCell
from deqlab.nn.closed_form import ClosedForm
from deqlab.nn.graph import Graph
from deqlab.nn.models.graph import GraphConvolutions, PredictThenPropagate
from deqlab.nn.models.twins import size_of_equal_parameters
from deqlab.recipes.graphs.config import ChainsConfig
from deqlab.recipes.graphs.stopping import AbsoluteStop

FEATURES = 100
"""Of a node, as published."""


class Directions(nn.Module):
    """States by a layer, and scores of their directions: how small a state is does not count.

    Args:
        states: The layer, called with features and a graph.
        width: Of a state.
        num_classes: Classes.
        published: Whether states below 1e-12 are taken for zero, as torch's `normalize` does.
    """

    def __init__(
        self, states: nn.Module, width: int, num_classes: int, *, published: bool = False
    ) -> None:
        super().__init__()
        self.states = states
        self.readout = nn.Linear(width, num_classes, bias=False)
        self.published = published

    @override
    def forward(self, x: Float[Tensor, "N n"], graph: Graph) -> Float[Tensor, "N c"]:
        z = self.states(x, graph)
        if not self.published:
            least = torch.finfo(z.dtype).tiny
            z = z / z.detach().abs().amax(dim=1, keepdim=True).clamp_min(least)
        return linear(normalize(z, dim=1), self.readout.weight)


class OfEachLength(nn.Module):
    """One network for each length, called with the chains of all lengths, in order."""

    def __init__(self, make: Callable[[], nn.Module], config: ChainsConfig) -> None:
        super().__init__()
        self.networks = nn.ModuleList([make() for _ in config.lengths]).double()

    @override
    def forward(self, inputs: list[tuple[Tensor, Graph]]) -> list[Tensor]:
        return [net(x, graph) for net, (x, graph) in zip(self.networks, inputs, strict=True)]


def deq(config: ChainsConfig, data: None) -> nn.Module:
    """Return the linear equilibria, in closed form."""

    def make() -> nn.Module:
        cell = LinearGraphCell(FEATURES, config.hidden, gamma=config.gamma, bias=False)
        states = ClosedForm(cell, rtol=1e-2, on_failure="ignore")  # the log of the run speaks up
        states.deq.gradient = Loops(steps=1)  # it starts at its end: there is no rate to control
        return Directions(states, config.hidden, config.num_classes)

    return OfEachLength(make, config)


def ignn(config: ChainsConfig, data: None) -> nn.Module:
    """Return the published IGNN."""

    def make() -> nn.Module:
        cell = ImplicitGraphCell(FEATURES, config.hidden, bound=config.bound, bias=False)
        states = AbsoluteStop(cell, tolerance=config.tolerance)
        return Directions(states, config.hidden, config.num_classes, published=True)

    return OfEachLength(make, config)


def appnp(config: ChainsConfig, data: None) -> nn.Module:
    """Return the twin of equal parameters: ten steps of PageRank."""

    def make(width: int) -> nn.Module:
        sizes = (FEATURES, width, config.num_classes)
        return OfEachLength(lambda: PredictThenPropagate(sizes, dropout=config.dropout), config)

    return make(size_of_equal_parameters(make, num_parameters(deq(config, data)), count(1)))


def gcn_of_flops(config: ChainsConfig, data: None, flops: float) -> nn.Module:
    """Return the GCN whose training step takes most nearly so many FLOPs.

    See `citations.gcn_of_flops`; here there are at most as many edges as nodes.
    """
    nodes = config.num_classes * config.chains * sum(config.lengths)
    width = max(1, round(flops / (nodes * (4 * FEATURES + 6 * config.num_classes + 8))))
    sizes = (FEATURES, width, config.num_classes)
    return OfEachLength(lambda: GraphConvolutions(sizes, dropout=config.dropout), config)
