"""`cora` and `citeseer`: papers are classified by their words and citations, on the public split.

The DEQ is the fixed point of personalised PageRank (Gasteiger et al. 2019) of what a network of two
layers predicts of each paper, and APPNP is that network with ten steps of it: of equal parameters.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from deqlab.nn.models.graph import (
    GraphConvolutions,
    PredictThenPropagate,
    SimpleGraphConvolution,
    implicit_graph_net,
    pagerank_deq,
)
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.graphs.config import MADE, CitationConfig
from deqlab.recipes.graphs.task import CitationTask, OnGraph, Sizes, sizes_of
from deqlab.solvers.anderson import Anderson

GCN_WIDTH = 16
"""The hidden width of the published GCN."""

SOLVER = Anderson(rtol=1e-2, max_steps=40)


def deq(config: CitationConfig, data: Sizes) -> nn.Module:
    """Return the fixed point of PageRank."""
    network = pagerank_deq(
        (data.num_inputs, config.hidden, data.num_classes),
        restart=config.restart,
        dropout=config.dropout,
        solver=SOLVER,
        on_failure="ignore",  # the log of the run speaks up
    )
    return OnGraph(network, data.graph())


def ignn(config: CitationConfig, data: Sizes) -> nn.Module:
    """Return the equilibrium of an IGNN, solved to the same tolerance."""
    network = implicit_graph_net(
        data.num_inputs,
        config.hidden,
        data.num_classes,
        bound=config.bound,
        dropout=config.dropout,
        solver=SOLVER,
        on_failure="ignore",
    )
    return OnGraph(network, data.graph())


def appnp(config: CitationConfig, data: Sizes) -> nn.Module:
    """Return the twin of equal parameters: ten steps of PageRank."""
    network = PredictThenPropagate(
        (data.num_inputs, config.hidden, data.num_classes),
        steps=config.steps,
        restart=config.restart,
        dropout=config.dropout,
    )
    return OnGraph(network, data.graph())


def gcn(config: CitationConfig, data: Sizes, *, width: int = GCN_WIDTH) -> nn.Module:
    """Return a graph convolutional network of two layers."""
    sizes = (data.num_inputs, width, data.num_classes)
    return OnGraph(GraphConvolutions(sizes, dropout=config.dropout), data.graph())


def gcn_of_flops(config: CitationConfig, data: Sizes, flops: float) -> nn.Module:
    """Return the graph convolutional network whose training step takes most nearly so many FLOPs.

    The first layer has 2 N n h forward and as many for its weight, the second 6 N h c; h channels
    travel along E edges and N loops, forward and backward.
    """
    per_width = data.num_nodes * (4 * data.num_inputs + 6 * data.num_classes)
    per_width += 4 * (data.num_nodes + data.edges.shape[1])
    return gcn(config, data, width=max(1, round(flops / per_width)))


def sgc(config: CitationConfig, data: Sizes) -> nn.Module:
    """Return a linear layer on features that have travelled two hops."""
    return OnGraph(SimpleGraphConvolution(data.num_inputs, data.num_classes), data.graph())


def _citations(name: str, margin: float, full: CitationConfig) -> Recipe:
    small: dict[str, Any] = {"dataset": MADE, "seeds": (0,), "epochs": 40, "num_evaluations": 4}
    arms: dict[str, Callable[..., nn.Module]] = {"gcn": gcn, "sgc": sgc}
    labels = {"gcn": f"GCN of {GCN_WIDTH} channels", "sgc": "SGC of 2 hops"}
    return recipe(
        {
            "deq": Arm(label="Page rank, at its fixed point", make=deq),
            "deq-ignn": Arm(label="IGNN, at its equilibrium", make=ignn),
            **twins(appnp, gcn_of_flops),
            **{key: Arm(label=labels[key], make=make) for key, make in arms.items()},
        },
        name=name,
        title=f"Papers of {full.dataset.capitalize()}, on the public split",
        source="Asked by deqlab; after Gasteiger et al. (2019), Gu et al. (2020).",
        presets={
            "smoke": replace(full, **small),
            "quick": replace(full, seeds=(0, 1), epochs=120, num_evaluations=12),
            "full": full,
        },
        task=CitationTask,
        metric=CitationTask.metric,
        restored=sizes_of,
        fields=("validation_accuracy", "test_loss"),
        what="classifies",
        margin=margin,
    )


SEEDS = tuple(range(20))

RECIPES = (
    _citations("cora", 0.01, CitationConfig(seeds=SEEDS)),
    _citations("citeseer", 0.01, CitationConfig(seeds=SEEDS, dataset="citeseer")),
)
