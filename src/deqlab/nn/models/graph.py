"""Classifiers of the nodes of a graph: a DEQ of each kind, and the explicit networks beside them.

    GCN      A relu(A x U) V, dropout in front of each              Kipf & Welling (2017)
    SGC      A^k x U                                                Wu et al. (2019)
    APPNP    k steps of z <- (1 - a) A z + a h(x), from h(x)        Gasteiger et al. (2019)

Each is called with features (N, n) and a `Graph`, and returns scores (N, classes).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count, check_sequence
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.graph import ImplicitGraphCell, PageRankCell, adjacency_of
from deqlab.nn.deq import DEQ
from deqlab.nn.graph import Graph, propagate
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver


def predictor(sizes: Sequence[int], *, dropout: float = 0.5) -> nn.Sequential:
    """Return a fully connected network of one node at a time, with dropout in front of each layer.

    Args:
        sizes: Features, hidden widths, classes.
        dropout: The share of entries that is dropped.
    """
    check_sequence("sizes", sizes)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Dropout(dropout), nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def pagerank_deq(
    sizes: Sequence[int],
    *,
    restart: float = 0.1,
    dropout: float = 0.5,
    solver: Solver[Any] = Anderson(rtol=1e-2, max_steps=40),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> DEQ[Tensor]:
    """Return personalised PageRank of what a network predicts of each node.

    Args:
        sizes: Of the network; see `predictor`.
        restart: See `PageRankCell`.
        dropout: Of the network.
        solver: Of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.
    """
    cell = PageRankCell(predictor(sizes, dropout=dropout), sizes[-1], restart=restart)
    return DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)


class GraphReadout(nn.Module):
    """States of nodes by a layer that is called with features and a graph, then scores of each.

    Args:
        states: The layer.
        width: Of a state.
        num_classes: Classes.
        dropout: Of features and of states.
    """

    def __init__(
        self, states: nn.Module, width: int, num_classes: int, *, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.states = states
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(width, num_classes)

    @override
    def forward(self, x: Float[Tensor, "N n"], graph: Graph) -> Float[Tensor, "N c"]:
        z = self.states(self.dropout(x), graph)
        scores: Tensor = self.readout(self.dropout(z))
        return scores


def implicit_graph_net(
    num_inputs: int,
    width: int,
    num_classes: int,
    *,
    bound: float = 0.9,
    dropout: float = 0.5,
    solver: Solver[Any] = Anderson(rtol=1e-2, max_steps=40),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> GraphReadout:
    """Return an implicit graph network: the equilibrium of an `ImplicitGraphCell`, and a readout.

    Args:
        num_inputs: Features of a node.
        width: Of a state.
        num_classes: Classes.
        bound: See `ImplicitGraphCell`.
        dropout: See `GraphReadout`.
        solver: Of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.
    """
    cell = ImplicitGraphCell(num_inputs, width, bound=bound)
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    return GraphReadout(deq, width, num_classes, dropout=dropout)


class GraphConvolutions(nn.Module):
    """A graph convolutional network.

    Args:
        sizes: Features, hidden widths, classes.
        dropout: In front of each layer.
    """

    def __init__(self, sizes: Sequence[int], *, dropout: float = 0.5) -> None:
        super().__init__()
        check_sequence("sizes", sizes)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList([nn.Linear(*pair) for pair in pairwise(sizes)])

    @override
    def forward(self, x: Float[Tensor, "N n"], graph: Graph) -> Float[Tensor, "N c"]:
        adjacency = adjacency_of(graph, x)
        layer: Any
        for index, layer in enumerate(self.layers):
            x = self.dropout(x.relu() if index else x)
            narrow = nn.functional.linear(x, layer.weight)[None]
            x = propagate(adjacency, narrow)[0] + layer.bias
        return x


class SimpleGraphConvolution(nn.Module):
    """A^k x U + b: features that travel k hops, and one linear layer.

    Args:
        num_inputs: Features of a node.
        num_classes: Classes.
        hops: k, at least 1.
    """

    def __init__(self, num_inputs: int, num_classes: int, *, hops: int = 2) -> None:
        super().__init__()
        check_count("hops", hops)
        self.hops = hops
        self.linear = nn.Linear(num_inputs, num_classes)

    @override
    def forward(self, x: Float[Tensor, "N n"], graph: Graph) -> Float[Tensor, "N c"]:
        scores: Tensor = nn.functional.linear(x, self.linear.weight)[None]  # narrower than x
        adjacency = adjacency_of(graph, x)
        for _ in range(self.hops):
            scores = propagate(adjacency, scores)
        return scores[0] + self.linear.bias


class PredictThenPropagate(nn.Module):
    """So many steps of personalised PageRank of what a network predicts of each node: APPNP.

    Args:
        sizes: Of the network; see `predictor`.
        steps: k, 0 or more.
        restart: The share of the prediction in each step.
        dropout: Of the network.
    """

    def __init__(
        self, sizes: Sequence[int], *, steps: int = 10, restart: float = 0.1, dropout: float = 0.5
    ) -> None:
        super().__init__()
        check_count("steps", steps, least=0)
        self.predict = predictor(sizes, dropout=dropout)
        self.steps, self.restart = steps, restart

    @override
    def forward(self, x: Float[Tensor, "N n"], graph: Graph) -> Float[Tensor, "N c"]:
        h: Tensor = self.predict(x)[None]
        z, adjacency = h, adjacency_of(graph, x)
        for _ in range(self.steps):
            z = (1 - self.restart) * propagate(adjacency, z) + self.restart * h
        return z[0]
