"""`darcy`: the pressure of a flow through a porous medium, at an equilibrium of Fourier layers.

The claim is that of Marwah, Pokle, Kolter, Lipton, Lu & Risteski (2023), "Deep Equilibrium Based
Neural Operators for Steady-State PDEs": their FNO-DEQ is better than Fourier networks of four times
its weights. Setting and data are deqlab's own (see `tasks.darcy`).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from statistics import median
from typing import Any

import torch
from torch import nn

from deqlab.costs import num_parameters
from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import by_seed, least_converged, outcome
from deqlab.experiments.page import Images
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.nn.models.fourier import fourier_deq, fourier_net
from deqlab.nn.models.twins import size_of_equal_parameters, size_of_equal_step_flops
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.operators.config import DarcyConfig
from deqlab.recipes.operators.task import DarcyTask
from deqlab.recipes.verdict import judge as judge_recipe
from deqlab.solvers.anderson import Anderson

TIMES = 4
"""The weights of the network that the claim names, in units of those of the DEQ."""


def deq(config: DarcyConfig, data: None) -> nn.Module:
    """Return the DEQ, whose gain follows the rate of its solves."""
    return _equilibrium(config, gain=config.gain, highest=config.highest)


def certified(config: DarcyConfig, data: None) -> nn.Module:
    """Return the DEQ that contracts at all weights."""
    return _equilibrium(config, gain=config.certified, highest=config.certified)


def _equilibrium(config: DarcyConfig, *, gain: float, highest: float) -> nn.Module:
    return fourier_deq(
        1,
        1,
        config.channels,
        config.modes,
        layers=config.cell_layers,
        gain=gain,
        highest=highest,
        solver=Anderson(rtol=config.rtol, max_steps=config.max_steps),
        gradient=Implicit(solver=GMRES(rtol=1e-2, max_products=20)),
        on_failure="ignore",  # the log of the run speaks up
    )


def explicit(config: DarcyConfig, channels: int) -> nn.Module:
    """Return the explicit network of the config's layers, with so many channels."""
    return fourier_net(1, 1, channels, config.modes, layers=config.layers)


def of_parameters(config: DarcyConfig, data: None, *, times: int = 1) -> nn.Module:
    """Return the explicit network with most nearly so many times the weights of the DEQ."""
    budget = times * num_parameters(deq(config, data))
    channels = size_of_equal_parameters(lambda size: explicit(config, size), budget, count(1))
    return explicit(config, channels)


def larger(config: DarcyConfig, data: None) -> nn.Module:
    """Return the explicit network that the claim names."""
    return of_parameters(config, data, times=TIMES)


def of_flops(config: DarcyConfig, data: None, flops: float) -> nn.Module:
    """Return the explicit network whose training step takes most nearly so many FLOPs."""
    x = torch.zeros(config.batch_size, 1, config.size, config.size)
    channels = size_of_equal_step_flops(
        lambda size: explicit(config, size), round(flops), count(1), x
    )
    return explicit(config, channels)


def judge(config: DarcyConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ is as good as the network of four times its weights.

    What its twins reach is told, and decides nothing.
    """
    metric = DarcyTask.metric
    found = judge_recipe(config, rows, metric=metric, margin=None)
    ours, theirs = (
        list(by_seed(rows, metric.field, arm=arm, missing=metric.worst).values())
        for arm in ("deq", "fno")
    )
    parts = [median(ours) <= median(theirs)] if theirs else []
    solved = least_converged(row for row in rows if row["arm"] == "deq")
    return replace(found, outcome=outcome(parts, solved=solved))


FULL = DarcyConfig()
SMALL: dict[str, Any] = {
    "seeds": (0,),
    "learning_rates": (1e-2,),
    "size": 9,
    "train_size": 32,
    "test_size": 8,
    "channels": 4,
    "modes": 3,
    "layers": 2,
    "steps": 20,
    "batch_size": 8,
    "num_evaluations": 2,
}
"""What the recipe is set to for a run of seconds."""

PICTURES = Images(
    title="Permeability, pressure, and what networks answer",
    caption="The first test fields. Bright is 12 and dark 3 in the permeability; the pressure, the "
    "answers and their errors are in units of the largest pressure. The first seed.",
    rows="field",
    line="field",
    column="what",
)


def recipe_of_darcy() -> Recipe:
    """Return the recipe, with a verdict of its own."""
    found = recipe(
        {
            "deq": Arm(label="DEQ of Fourier layers", make=deq),
            "deq-certified": Arm(label="DEQ that contracts by construction", make=certified),
            "fno": Arm(label=f"Fourier layers, {TIMES} times the weights", make=larger),
            **twins(of_parameters, of_flops),
        },
        name="darcy",
        title="Darcy flow, at an equilibrium of Fourier layers",
        source="Marwah, Pokle, Kolter, Lipton, Lu & Risteski (2023), Deep Equilibrium Based Neural "
        "Operators for Steady-State PDEs.",
        origin="published",
        presets={
            "smoke": replace(FULL, **SMALL),
            "quick": replace(FULL, seeds=(0,), learning_rates=(1e-2,), steps=300),
            "full": FULL,
        },
        task=DarcyTask,
        metric=DarcyTask.metric,
        restored=restored,
        fields=("largest_error",),
        charts=((PICTURES,), ()),
        tolerance="the rtol of the config",
        max_steps="at most as many steps as that says",
    )
    return replace(
        found,
        claim="The relative error of the DEQ is at most that of a network of four Fourier layers "
        "with four times its weights.",
        judge=judge,
    )


def restored(about: dict[str, Any]) -> None:
    """Return what a network is made again for: nothing, for its sizes are in the config."""


RECIPES = (recipe_of_darcy(),)
