"""`box-mpc`: an unknown system is learned through plans whose inputs are bounded.

An expert plans the inputs of a horizon within bounds, and shows them; the costs are known. The DEQ
learns the system (A, B) by the same planning, beside networks that learn the plans as such. The
rows have the distance of what was learned from the true system, of which networks know nothing.
After Amos, Jimenez, Sacks, Boots & Kolter (2018), "Differentiable MPC for end-to-end planning and
control", section 5.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.control.mpc import box_mpc
from deqlab.control.mpc_layer import MPCLayer
from deqlab.experiments.page import chart, column, table
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.control.config import BoxConfig
from deqlab.recipes.control.imitation import (
    ImitationTask,
    Plain,
    Shown,
    of_flops,
    of_parameters,
    without_state,
)
from deqlab.recipes.control.systems import system_of
from deqlab.solvers.newton import Newton
from deqlab.solvers.proximal import Box

SOLVER = Newton(rtol=1e-8)


class BoxTask(ImitationTask):
    """The plans of an expert from states that are drawn."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.config: BoxConfig = config
        self.system = system_of(config)
        generator = torch.Generator().manual_seed(1)
        self.train = self._shown(config.demonstrations, config.noise, generator)
        self.choice = self._shown(config.test_size, config.noise, generator)
        self.test = self._shown(config.test_size, 0.0, generator)

    @override
    def known(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the share of inputs at a bound, and the distance from the true system."""
        config, system = self.config, self.system
        at = (self.test.u <= config.lower) | (self.test.u >= config.upper)
        found = {"bounded": at.double().mean(dim=(1, 2))}
        if isinstance(model, LearnedSystem):
            true = torch.cat([system.a, system.b], dim=-1)
            off = torch.cat([model.a, model.b], dim=-1) - true
            found["system_error"] = torch.linalg.matrix_norm(off) / torch.linalg.matrix_norm(true)
        return found

    def _shown(self, count: int, noise: float, generator: torch.Generator) -> Shown:
        config, system = self.config, self.system
        shape = (config.systems, count, config.num_states)
        x = config.reach * torch.randn(shape, generator=generator, dtype=torch.float64)
        a, b, q, r = (matrix[:, None] for matrix in (system.a, system.b, system.q, system.r))
        box = Box(config.lower, config.upper)
        plan = box_mpc(a, b, q, r, x, box, horizon=config.horizon)
        u = plan.inputs.flatten(2)
        size = u.square().mean(dim=(1, 2), keepdim=True).sqrt()
        drawn = torch.randn(u.shape, generator=generator, dtype=torch.float64)
        return Shown(x=x, u=(u + noise * size * drawn).clamp(config.lower, config.upper))


class LearnedSystem(nn.Module):
    """Plans of learned systems with the true costs.

    Args:
        config: The settings.
    """

    def __init__(self, config: BoxConfig) -> None:
        super().__init__()
        n, m = config.num_states, config.num_inputs
        system = system_of(config)
        self.register_buffer("q", system.q[:, None])
        self.register_buffer("r", system.r[:, None])
        self.a = nn.Parameter(torch.randn(config.systems, n, n).double() / n**0.5)
        self.b = nn.Parameter(torch.randn(config.systems, n, m).double() / n**0.5)
        box = Box(config.lower, config.upper)
        self.layer = MPCLayer(box, m, horizon=config.horizon, solver=SOLVER)
        self.layer.deq.on_failure = "ignore"  # the log of the run speaks up

    @override
    def forward(self, x: Float[Tensor, "S N n"]) -> Float[Tensor, "S N Tm"]:
        u: Tensor = self.layer(self.a[:, None], self.b[:, None], self.q, self.r, x)
        return u.flatten(2)


def learned(config: BoxConfig, data: None) -> LearnedSystem:
    """Return the network that learns systems."""
    return LearnedSystem(config)


def sizes(config: BoxConfig) -> dict[str, Any]:
    """Return the arguments of explicit controllers but the width."""
    return {
        "systems": config.systems,
        "num_states": config.num_states,
        "num_outputs": config.horizon * config.num_inputs,
        "bounds": (config.lower, config.upper),
    }


def plain(config: BoxConfig, data: None) -> Plain:
    """Return the networks of most nearly the parameters of the DEQ."""
    return of_parameters(learned(config, data), **sizes(config))


def plain_of_flops(config: BoxConfig, data: None, flops: float) -> Plain:
    """Return the networks whose training step takes most nearly so many FLOPs."""
    return of_flops(flops, min(config.batch_size, config.demonstrations), **sizes(config))


FULL = BoxConfig(steps=1000)
CHARTS = (
    chart(
        "step",
        "step",
        "system_error",
        title="The distance from the true system",
        caption="Relative, in Frobenius norm, of (A, B), the median system. Only inputs are shown.",
        y_label="relative distance",
        y_scale="log",
    ),
)
TABLES = (
    table(
        "system",
        column("imitation_error", "error of the inputs", format="percent"),
        column("system_error", "distance from the true system", format="percent"),
        column("bounded", "inputs at a bound", format="percent"),
        by="system",
        title="System by system",
        caption="On the test states.",
        mark_best=False,
    ),
)


def _recipe() -> Recipe:
    return recipe(
        {"deq": Arm(label="DEQ, learns the system", make=learned), **twins(plain, plain_of_flops)},
        name="box-mpc",
        title="Predictive control within bounds, learned from plans",
        source="Amos et al. (2018), Differentiable MPC for end-to-end planning and control, "
        "section 5.",
        presets={
            "smoke": replace(
                FULL, seeds=(0,), systems=2, horizon=3, steps=60, test_size=20, num_evaluations=2
            ),
            "quick": replace(FULL, seeds=(0,), steps=400, num_evaluations=2),
            "full": FULL,
        },
        task=BoxTask,
        metric=BoxTask.metric,
        restored=without_state,
        charts=(CHARTS, TABLES),
        tolerance=f"rtol {SOLVER.rtol:g}",
        max_steps=f"at most {SOLVER.max_steps} steps",
        what="imitates",
        margin=0.01,
    )


RECIPES = (_recipe(),)
