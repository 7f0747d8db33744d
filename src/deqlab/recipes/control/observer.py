"""`observer`: a network that finds the state from a measurement, wherever it began.

A recurrent equilibrium network contracts at every weight, so that two of its trajectories with the
same input come together; and if it is right along true trajectories, these are among its own, and
it finds them from any start. It learns to be right in one step, as in the package
RobustNeuralNetworks.jl (see `tasks.spring_box`). Free networks learn the same step, and may ignore
what is measured, of which the true state tells already; a GRU learns along windows.
"""

from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.costs import num_parameters
from deqlab.experiments.page import chart, column, table
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters
from deqlab.nn.tuning import tune_alpha
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.control.config import ObserverConfig
from deqlab.recipes.control.imitation import without_state
from deqlab.recipes.control.luenberger import LinearObserver
from deqlab.recipes.control.observer_task import ITERATIONS, ObserverTask
from deqlab.recipes.control.observer_verdict import LARGEST, judge
from deqlab.recipes.control.observers import Contracting, Free, Gated, Observer

EVALUATIONS = ITERATIONS + 2
"""Of the loss in a step of L-BFGS: its line searches take a few more than one an iteration."""


def tune(model: nn.Module, batch: Float[Tensor, "B T 2"]) -> None:
    """Give the network the step of its splitting that finds the neurons in fewest evaluations."""
    assert isinstance(model, Contracting)
    x = batch[:, :-1]
    tune_alpha(model.net.deq, torch.cat([x, x[..., :1]], dim=-1))


def deq(config: ObserverConfig, data: LinearObserver | None) -> Observer:
    """Return the recurrent equilibrium network."""
    return _begun(_contracting(config), config, data)


def free(config: ObserverConfig, data: LinearObserver | None) -> Observer:
    """Return the free network of most nearly the parameters of the DEQ."""
    budget = num_parameters(_contracting(config))
    return _begun(Free(size_of_equal_parameters(Free, budget, count(1))), config, data)


def free_of_flops(config: ObserverConfig, data: LinearObserver | None, flops: float) -> Observer:
    """Return the free network whose training step takes most nearly so many FLOPs."""
    pairs = config.batch_size * config.window
    y = torch.zeros(pairs, 1, 1)  # one step of each
    classes = torch.zeros(pairs, 1, dtype=torch.int64)  # a loss takes no FLOPs that are counted
    evaluations = EVALUATIONS if config.optimizer == "lbfgs" else 1
    width = size_of_equal_flops(Free, round(flops / evaluations), count(1), y, classes)
    return _begun(Free(width), config, data)


def gated(config: ObserverConfig, data: LinearObserver | None) -> Observer:
    """Return the GRU of most nearly the parameters of the DEQ."""
    budget = num_parameters(_contracting(config))
    return _begun(Gated(size_of_equal_parameters(Gated, budget, count(1))), config, data)


def _contracting(config: ObserverConfig) -> Contracting:
    return Contracting(config.width, config.contraction, config.max_steps)


def _begun(model: Observer, config: ObserverConfig, data: LinearObserver | None) -> Observer:
    """Return a network at its start, in the dtype that its optimiser needs."""
    model = model.double() if config.optimizer == "lbfgs" else model
    if data is not None:
        model.start_at(data)
    return model


FULL = ObserverConfig(steps=60)
CHARTS = (
    chart(
        "time",
        "seconds_in",
        "worst_error",
        title="From 0 to the true state",
        caption="The largest error over all starts, in time. The line to be under is "
        f"{LARGEST:g}, from 10 s on.",
        x_label="seconds",
        y_label="largest error",
        y_scale="log",
    ),
)
TABLES = (
    table(
        "certificate",
        column("rate", "contracts by, in each step"),
        column("margin", "margin of the matrix inequality"),
        by="when",
        title="What is proved of its trajectories",
        caption="Of any two with the same input, at the weights as they are.",
        mark_best=False,
    ),
)


def _recipe() -> Recipe:
    small: dict[str, Any] = {
        "seeds": (0,),
        "steps": 3,
        "width": 8,
        "window": 20,
        "trajectories": 20,
        "test_size": 10,
        "test_seconds": 0.6,
        "settled": 0.4,
        "num_evaluations": 2,
    }
    found = recipe(
        {
            "deq": Arm(label="Recurrent equilibrium network", make=deq),
            **twins(free, free_of_flops),
            "gru": Arm(label="GRU of equal parameters", make=gated, matching="parameters"),
        },
        name="observer",
        title="An observer that contracts",
        source="Revay, Wang & Manchester (2023), Recurrent equilibrium networks; the benchmark of "
        "RobustNeuralNetworks.jl.",
        origin="published",
        presets={
            "smoke": replace(FULL, **small),
            "quick": replace(FULL, seeds=(0,), steps=10, num_evaluations=2),
            "full": FULL,
        },
        task=ObserverTask,
        metric=ObserverTask.metric,
        restored=without_state,
        fields=("median_error",),
        charts=(CHARTS, TABLES),
        tolerance="rtol 1e-8",
        max_steps="at most as many steps as the config says",
        tune=tune,
    )
    return replace(
        found,
        claim="From every start the error of the observer is at most 1e-3 after 10 s, and its "
        "rate of contraction is proved before and after training.",
        judge=partial(judge, metric=ObserverTask.metric),
    )


RECIPES = (_recipe(),)
