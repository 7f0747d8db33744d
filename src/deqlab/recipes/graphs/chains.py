"""`chains`: one number is carried along directed chains of up to 200 nodes.

A network of its own learns each length, all in one run: their weights are disjoint, and Adam treats
each weight by itself. The DEQ is EIGNN's linear equilibrium in closed form. The arm "ignn" is the
published IGNN with its absolute stop; rows "hop" show, at the same weights, what its iteration
leaves at each node, and what the equilibrium has there (see `stopping`). All is in float64, for a
state is 1e-36 after 200 hops; a readout that looks at directions alone sees it all the same.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.experiments.page import chart, table
from deqlab.nn.graph import Graph
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.graphs.chain_networks import (
    FEATURES,
    Directions,
    appnp,
    deq,
    gcn_of_flops,
    ignn,
)
from deqlab.recipes.graphs.config import ChainsConfig
from deqlab.recipes.graphs.stopping import AbsoluteStop
from deqlab.recipes.graphs.task import FullGraphTask, scored
from deqlab.tasks.chains import Chains, sample
from deqlab.training.equilibrium import verdicts
from deqlab.training.fit import evaluated

STOPS = ("as published", "at the equilibrium")


class ChainsTask(FullGraphTask):
    """Chains of each length."""

    def __init__(self, config: ChainsConfig) -> None:
        super().__init__(config)
        self.data = None
        generator = torch.Generator().manual_seed(0)
        self._chains = {
            length: sample(
                length,
                num_classes=config.num_classes,
                chains=config.chains,
                num_features=FEATURES,
                generator=generator,
            )
            for length in config.lengths
        }
        self._inputs = [
            (each.x.double(), Graph.of(each.edges, len(each.y))) for each in self._chains.values()
        ]

    @override
    def loss(self, model: nn.Module, batch: None) -> Tensor:
        found = zip(model(self._inputs), self._chains.values(), strict=True)
        return torch.stack([cross_entropy(s[c.train], c.y[c.train]) for s, c in found]).sum()

    @override
    def tested(self, model: nn.Module) -> Row:
        rows = list(self._by_length(model))
        longest = max(rows, key=lambda row: row["length"])
        validation = sum(row["validation_loss"] for row in rows) / len(rows)
        return {**longest, "validation_loss": validation, **verdicts(model)}

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        yield from self._rows(lambda model: self._by_length(model, kind="size"), model)
        if any(isinstance(part, AbsoluteStop) for part in model.modules()):
            yield from self._rows(self._stopped_and_solved, model)
        yield from super().examined(model)

    @override
    def about(self) -> dict[str, Any]:
        return {}

    def _rows(self, told: Callable[[nn.Module], Iterator[Row]], model: nn.Module) -> list[Row]:
        """Return what is told of a model in eval mode and without a tape."""
        rows: list[Row] = evaluated(model, lambda model: {"rows": list(told(model))})["rows"]
        return rows

    def _by_length(self, model: nn.Module, **also: str) -> Iterator[Row]:
        for (length, chains), scores in zip(self._chains.items(), model(self._inputs), strict=True):
            yield {
                **also,
                "length": length,
                **scored("test", scores, chains.y, chains.test),
                **scored("validation", scores, chains.y, chains.validation),
            }

    def _stopped_and_solved(self, model: nn.Module) -> Iterator[Row]:
        """Yield the states along the longest chains, and the accuracy, with and without the stop.

        Without it the same weights iterate until nothing changes at all: 4 steps a hop and 400.
        """
        solved = copy.deepcopy(model)
        for part in solved.modules():
            if isinstance(part, AbsoluteStop):
                part.tolerance, part.max_steps = 0.0, 4 * max(self._chains) + 400
            if isinstance(part, Directions):
                part.published = False
        for stop, networks in zip(STOPS, (model, solved), strict=True):
            yield from self._by_length(networks, kind="stop", stop=stop)
            at = list(self._chains).index(max(self._chains))
            net: Any = networks.get_submodule(f"networks.{at}")
            states = net.states(*self._inputs[at]).abs().amax(dim=1)
            yield from _by_hop(states, self._chains[max(self._chains)], stop)


def _by_hop(states: Tensor, chains: Chains, stop: str) -> Iterator[Row]:
    for hop in range(int(chains.hops.max()) + 1):
        size = states[chains.hops == hop].median().item()
        yield {"kind": "hop", "stop": stop, "hop": hop, "state": max(size, 1e-40)}


def _nothing(about: dict[str, Any]) -> None:
    """Return what a network is made again for: nothing, for its sizes are in the config."""


CHARTS = (
    chart(
        "size",
        "length",
        "test_accuracy",
        title="Accuracy against length",
        caption="On the nodes that were not trained on; half of two classes are right by chance.",
        x_label="nodes of a chain",
    ),
    chart(
        "stop",
        "length",
        "test_accuracy",
        title="The published IGNN, and its equilibrium at the same weights",
        caption="Only the end of the iteration differs: where no entry changes by more than 3e-6, "
        "or where nothing changes.",
        x_label="nodes of a chain",
        panel_by="stop",
    ),
    chart(
        "hop",
        "hop",
        "state",
        title="What the absolute stop leaves along a chain",
        caption="The largest entry of the state so many hops from the first node, the median "
        "chain; 1e-40 stands for zero. The stop is at 3e-6.",
        x_label="hops",
        y_label="state",
        x_scale="linear",
        y_scale="log",
        panel_by="stop",
    ),
)
TABLES = (
    table(
        "size",
        "test_accuracy",
        by="length",
        title="Accuracy against length",
        caption="Medians over seeds, with the range.",
    ),
)


def _recipe(full: ChainsConfig) -> Recipe:
    small: dict[str, Any] = {
        "seeds": (0,),
        "lengths": (5, 10),
        "chains": 5,
        "epochs": 40,
        "num_evaluations": 2,
    }
    return recipe(
        {
            "deq": Arm(label="EIGNN, in closed form", make=deq),
            "ignn": Arm(label="IGNN with its absolute stop", make=ignn),
            **twins(appnp, gcn_of_flops),
        },
        name="chains",
        title="A class that only the first node of a chain knows",
        source="Gu et al. (2020), section 5.1; Liu et al. (2021), section 4.1.",
        presets={
            "smoke": replace(full, **small),
            "quick": replace(full, seeds=(0,), lengths=(10, 40, 80), epochs=100),
            "full": full,
            "five": replace(full, num_classes=5),
        },
        task=ChainsTask,
        metric=ChainsTask.metric,
        restored=_nothing,
        fields=("validation_loss",),
        charts=(CHARTS, TABLES),
    )


RECIPES = (_recipe(ChainsConfig(num_evaluations=10)),)
