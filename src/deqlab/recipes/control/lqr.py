"""`lqr`: an expert's feedback is learned through the Riccati equation.

The expert is the regulator of an unstable system, and its inputs are shown with noise. The DEQ
knows the costs and learns the system (A, B) whose regulator does as the expert; "deq-costs" knows
the system and learns the costs: whatever it learns stabilises, for every regulator of positive
definite costs does. Of systems and costs only the feedback can be known from inputs: many have the
same. After Amos, Jimenez, Sacks, Boots & Kolter (2018), "Differentiable MPC for end-to-end planning
and control", section 5, with an infinite horizon.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.control.regulator_layer import RegulatorLayer
from deqlab.control.riccati import Regulator
from deqlab.control.riccati import lqr as regulator
from deqlab.control.systems import spectral_radius
from deqlab.experiments.page import chart, column, table
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.control.config import LinearConfig
from deqlab.recipes.control.imitation import (
    ImitationTask,
    Plain,
    Shown,
    of_flops,
    of_parameters,
    without_state,
)
from deqlab.recipes.control.systems import System, definite, system_of

SLACK = 0.1
"""What costs that are learned have of the unit matrix at least."""


class LqrTask(ImitationTask):
    """What the regulators of systems do at states, the same states for each."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__(config)
        self.system = system_of(config)
        self.gain = expert(config)
        generator = torch.Generator().manual_seed(1)
        self.train = self._shown(config.demonstrations, config.noise, generator)
        self.choice = self._shown(config.test_size, config.noise, generator)
        self.test = self._shown(config.test_size, 0.0, generator)

    @override
    def known(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the error of the gain, and the spectral radius on the true system."""
        k, (a, b) = model.gain(), (self.system.a, self.system.b)  # type: ignore[operator]
        off = torch.linalg.matrix_norm(k - self.gain) / torch.linalg.matrix_norm(self.gain)
        radius = spectral_radius(a - b @ k)
        return {"gain_error": off, "radius": radius, "stable": (radius < 1).double()}

    @override
    def tested(self, model: nn.Module) -> dict[str, Any]:
        row = super().tested(model)
        with torch.no_grad():
            found = self.known(model)
        worst = {"radius": found["radius"].max().item(), "stable": found["stable"].mean().item()}
        return row | worst

    def _shown(self, count: int, noise: float, generator: torch.Generator) -> Shown:
        systems, n = self.system.a.shape[:2]
        x = torch.randn(systems, count, n, generator=generator, dtype=torch.float64)
        u = -x @ self.gain.mT
        size = u.square().mean(dim=(1, 2), keepdim=True).sqrt()
        drawn = torch.randn(u.shape, generator=generator, dtype=torch.float64)
        return Shown(x=x, u=u + noise * size * drawn)


@lru_cache(maxsize=4)
def expert(config: LinearConfig) -> Float[Tensor, "S m n"]:
    """Return the gain of the expert of each system.

    Raises:
        ValueError: Nothing stabilises a system.
    """
    system = system_of(config)
    return regulator(system.a, system.b, system.q, system.r).gain


class Learned(nn.Module):
    """u = -K x with K the regulator of what is known and what is learned.

    Args:
        system: The true systems and costs, of which the rest is taken as known.
        costs: Whether costs are learned, or else systems.
    """

    def __init__(self, system: System, *, costs: bool) -> None:
        super().__init__()
        self.costs, self.layer = costs, RegulatorLayer()
        self.layer.deq.on_failure = "ignore"  # the log of the run speaks up
        (count, n), m = system.a.shape[:2], system.b.shape[-1]
        if costs:
            self.register_buffer("known_a", system.a)
            self.register_buffer("known_b", system.b)
            self.first = nn.Parameter(torch.eye(n).expand(count, n, n).double().clone())
            self.second = nn.Parameter(torch.eye(m).expand(count, m, m).double().clone())
        else:
            self.register_buffer("known_q", system.q)
            self.register_buffer("known_r", system.r)
            self.first = nn.Parameter(torch.randn(count, n, n).double() / n**0.5)
            self.second = nn.Parameter(torch.randn(count, n, m).double())

    def gain(self) -> Float[Tensor, "S m n"]:
        """Return K."""
        if self.costs:
            q, r = definite(self.first, SLACK), definite(self.second, SLACK)
            found: Regulator = self.layer(self.known_a, self.known_b, q, r)
        else:
            found = self.layer(self.first, self.second, self.known_q, self.known_r)
        return found.gain

    @override
    def forward(self, x: Float[Tensor, "S N n"]) -> Float[Tensor, "S N m"]:
        return -x @ self.gain().mT


def learned(*, costs: bool) -> Callable[[LinearConfig, None], Learned]:
    """Return what makes the network that learns costs, or systems."""
    return lambda config, data: Learned(system_of(config), costs=costs)


def sizes(config: LinearConfig, *, linear: bool) -> dict[str, Any]:
    """Return the arguments of explicit controllers but the width."""
    return {
        "systems": config.systems,
        "num_states": config.num_states,
        "num_outputs": config.num_inputs,
        "linear": linear,
    }


def plain(*, linear: bool) -> Callable[[LinearConfig, None], Plain]:
    """Return what makes the explicit controllers of equal parameters."""

    def make(config: LinearConfig, data: None) -> Plain:
        return of_parameters(learned(costs=False)(config, data), **sizes(config, linear=linear))

    return make


def plain_of_flops(config: LinearConfig, data: None, flops: float) -> Plain:
    """Return the linear maps whose training step takes most nearly so many FLOPs."""
    batch = min(config.batch_size, config.demonstrations)
    return of_flops(flops, batch, **sizes(config, linear=True))


FULL = LinearConfig(steps=1000)
CHARTS = (
    chart(
        "system",
        "system",
        "radius",
        title="What the learned feedback does to the true system",
        caption="The spectral radius of the closed loop, system by system: below 1 it is stable.",
        x_label="system",
        y_label="spectral radius",
    ),
)
TABLES = (
    table(
        "summary",
        column("gain_error", "error of the gain, median system", format="percent", better="lower"),
        column("radius", "spectral radius, worst system", better="lower"),
        column("stable", "systems stabilised", format="percent", better="higher"),
        title="What can be known of the system: its best feedback",
        caption="Of the learned feedback on the true systems.",
    ),
)


def _recipe() -> Recipe:
    return recipe(
        {
            "deq": Arm(label="DEQ, learns the system", make=learned(costs=False)),
            "deq-costs": Arm(label="DEQ, learns the costs", make=learned(costs=True)),
            **twins(plain(linear=True), plain_of_flops),
            "network": Arm(
                label="A network of equal parameters",
                make=plain(linear=False),
                matching="parameters",
            ),
        },
        name="lqr",
        title="A regulator, learned from an expert's inputs",
        source="Asked by deqlab; after Amos et al. (2018), Differentiable MPC, section 5.",
        presets={
            "smoke": replace(FULL, seeds=(0,), systems=4, steps=60, num_evaluations=2),
            "quick": replace(FULL, seeds=(0,), steps=400, num_evaluations=2),
            "full": FULL,
        },
        task=LqrTask,
        metric=LqrTask.metric,
        restored=without_state,
        fields=("gain_error", "radius", "stable"),
        charts=(CHARTS, TABLES),
        tolerance="rtol 1e-10",
        max_steps="at most 2000 steps",
        what="imitates",
        margin=0.01,
    )


RECIPES = (_recipe(),)
