"""Nodes of one graph: every step is on all of them, and what is known of some is kept for testing.

The weights that are kept are those of the evaluation of least loss on the validation nodes; test
nodes decide nothing.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.nn.graph import Graph
from deqlab.recipes.graphs.config import MADE, CitationConfig, NodesConfig
from deqlab.recipes.task import Metric, Task, accuracy
from deqlab.tasks import communities
from deqlab.tasks.files.loading import load
from deqlab.tasks.files.sets.planetoid import GraphData
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import verdicts
from deqlab.training.fit import evaluated


@dataclass(frozen=True, kw_only=True, eq=False)
class Sizes:
    """What a network is made for.

    Attributes:
        num_nodes: N.
        num_inputs: Features of a node.
        num_classes: Classes.
        edges: Of the graph.
    """

    num_nodes: int
    num_inputs: int
    num_classes: int
    edges: Int64[Tensor, "2 E"]

    def graph(self) -> Graph:
        """Return the graph, with self-loops and the symmetric normalisation, in float32."""
        return Graph.of(self.edges, self.num_nodes).to(torch.float32)


class OnGraph(nn.Module):
    """A network on one graph, which is called with features alone."""

    def __init__(self, network: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.network, self.graph = network, graph

    @override
    def forward(self, x: Float[Tensor, "N n"]) -> Float[Tensor, "N c"]:
        scores: Tensor = self.network(x, self.graph)
        return scores


class FullGraphTask(Task[None]):
    """What recipes on graphs share: steps on all nodes, Adam, one learning rate."""

    metric: Metric = accuracy()
    chosen_by = "validation_loss"

    def __init__(self, config: NodesConfig) -> None:
        super().__init__(config)
        self._epochs = config.epochs

    @override
    def batches(self, generator: torch.Generator) -> Drawn[None]:
        return Drawn(self._epochs, generator, lambda generator: None)

    @override
    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        decay = self.config.weight_decay
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)

    @override
    def schedule(self, optimizer: Optimizer, rate: float, steps: int) -> LRScheduler:
        return LambdaLR(optimizer, lambda step: 1.0)

    @override
    def validated(self, model: nn.Module) -> float:
        loss: float = evaluated(model, self.tested)["validation_loss"]
        return loss


class CitationTask(FullGraphTask):
    """Papers and the words in them."""

    def __init__(self, config: CitationConfig) -> None:
        super().__init__(config)
        self.graph = graph = graph_data(config.dataset)
        self.data = Sizes(
            num_nodes=len(graph.y),
            num_inputs=graph.x.shape[1],
            num_classes=graph.num_classes,
            edges=graph.edges,
        )

    @override
    def loss(self, model: nn.Module, batch: None) -> Tensor:
        train = self.graph.train
        return cross_entropy(model(self.graph.x)[train], self.graph.y[train])

    @override
    def tested(self, model: nn.Module) -> Row:
        graph = self.graph
        scores = model(graph.x)
        row = {
            **scored("test", scores, graph.y, graph.test),
            **scored("validation", scores, graph.y, graph.validation),
        }
        return row | verdicts(model)

    @override
    def about(self) -> dict[str, Any]:
        return {
            "num_nodes": self.data.num_nodes,
            "num_inputs": self.data.num_inputs,
            "num_classes": self.data.num_classes,
            "edges": self.data.edges,
        }


def sizes_of(about: dict[str, Any]) -> Sizes:
    """Return what a network is made again for."""
    return Sizes(**about)


@lru_cache(maxsize=1)
def graph_data(dataset: str) -> GraphData:
    """Return a graph, kept in memory for the next job."""
    if dataset != MADE:
        data: GraphData = load(dataset)
        return data
    x, y, edges = communities.sample(generator=torch.Generator().manual_seed(0))
    rank = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    return GraphData(
        name=MADE,
        x=x / x.sum(dim=1, keepdim=True).clamp_min(1),
        y=y,
        edges=edges,
        num_classes=int(y.max()) + 1,
        train=rank < 40,
        validation=(rank >= 40) & (rank < 80),
        test=rank >= 80,
    )


def scored(part: str, scores: Tensor, y: Tensor, nodes: Bool[Tensor, " N"]) -> Row:
    """Return the accuracy and the loss on some nodes."""
    right = scores[nodes].argmax(dim=-1) == y[nodes]
    return {
        f"{part}_accuracy": right.double().mean().item(),
        f"{part}_loss": cross_entropy(scores[nodes], y[nodes]).item(),
    }
