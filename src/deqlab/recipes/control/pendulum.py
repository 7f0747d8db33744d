"""`pendulum`: an expert that keeps a pendulum upright is imitated through the MPC layer.

The torque is bounded, and often at its bound. The DEQ plans with a linear model and quadratic costs
that it learns, and applies the first torque of its plan; networks learn the torque as such from the
same data. After Amos, Jimenez, Sacks, Boots & Kolter (2018), "Differentiable MPC for end-to-end
planning and control", section 5.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.control.mpc_layer import MPCLayer
from deqlab.experiments.base import Row
from deqlab.experiments.page import column, table
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.control.config import PendulumConfig
from deqlab.recipes.control.expert import plans
from deqlab.recipes.control.imitation import (
    ImitationTask,
    Plain,
    Shown,
    of_flops,
    of_parameters,
    without_state,
)
from deqlab.recipes.control.systems import definite
from deqlab.solvers.newton import Newton
from deqlab.solvers.proximal import Box
from deqlab.tasks.pendulum import DT, costs, starts, step

SOLVER = Newton(rtol=1e-8)
LEAST = 1e-3
"""What learned costs have of the unit matrix at least; that of a torque is 1."""


@lru_cache(maxsize=4)
def demonstrations(config: PendulumConfig) -> tuple[Tensor, Tensor]:
    """Return the states (N, T, 2) and the torques (N, T) of all plans of the expert."""
    generator = torch.Generator().manual_seed(0)
    number = config.demonstrations + 2 * config.test_size
    drawn = starts(number, torque=config.torque, angle=config.angle, generator=generator)
    return plans(drawn, config.plan, torque=config.torque)


class PendulumTask(ImitationTask):
    """States and torques along the first steps of plans; in a test also the closed loop."""

    def __init__(self, config: PendulumConfig) -> None:
        super().__init__(config)
        self.config: PendulumConfig = config
        shown = [each[:, : config.steps_shown] for each in demonstrations(config)]
        sizes = [config.demonstrations, config.test_size, config.test_size]
        parts = zip(*(each.split(sizes) for each in shown), strict=True)
        self.train, self.choice, self.test = (
            Shown(x=x.flatten(0, 1)[None], u=u.flatten()[None, :, None]) for x, u in parts
        )

    @override
    def known(self, model: nn.Module) -> dict[str, Tensor]:
        """Return nothing: of a model and its costs only the torques can be known."""
        return {}

    @override
    def tested(self, model: nn.Module) -> Row:
        driven = self._driven(model)
        least = self._driven(None)
        return super().tested(model) | {
            "cost_ratio": (driven.mean() / least.mean()).item(),
            "worst_cost": (driven / least).max().item(),
        }

    @torch.no_grad()
    def _driven(self, model: nn.Module | None) -> Float[Tensor, " N"]:
        """Return what a controller costs over the steps of a plan, or the expert for None."""
        states, torques = (each[-self.config.test_size :] for each in demonstrations(self.config))
        x, total = states[:, 0], torch.zeros(len(states), dtype=torch.float64)
        for t in range(states.shape[1]):
            u = torques[:, t] if model is None else model(x[None])[0, :, 0]
            u = u.clamp(-self.config.torque, self.config.torque)
            total = total + costs(x, u)
            x = step(x, u)
        return total


class Planner(nn.Module):
    """The first torque of a plan whose model and costs are learned.

    Args:
        config: The settings.
    """

    def __init__(self, config: PendulumConfig) -> None:
        super().__init__()
        box = Box(-config.torque, config.torque)
        self.layer = MPCLayer(box, 1, horizon=config.horizon, solver=SOLVER)
        self.layer.deq.on_failure = "ignore"  # the log of the run speaks up
        self.a = nn.Parameter(torch.tensor([[1.0, DT], [0.0, 1.0]]))
        self.b = nn.Parameter(torch.tensor([[0.0], [DT]]))
        self.state_cost = nn.Parameter(torch.eye(2))
        self.last_cost = nn.Parameter(torch.eye(2))
        self.register_buffer("torque_cost", torch.eye(1))
        self.double()

    @override
    def forward(self, x: Float[Tensor, "1 N 2"]) -> Float[Tensor, "1 N 1"]:
        q, last = definite(self.state_cost, LEAST), definite(self.last_cost, LEAST)
        u: Tensor = self.layer(self.a, self.b, q, self.torque_cost, x, last)
        return u[..., 0, :]


def learned(config: PendulumConfig, data: None) -> Planner:
    """Return the controller that plans."""
    return Planner(config)


def sizes(config: PendulumConfig) -> dict[str, Any]:
    """Return the arguments of explicit controllers but the width."""
    bounds = (-config.torque, config.torque)
    return {"systems": 1, "num_states": 2, "num_outputs": 1, "bounds": bounds}


def plain(config: PendulumConfig, data: None) -> Plain:
    """Return the network of most nearly the parameters of the DEQ."""
    return of_parameters(learned(config, data), **sizes(config))


def plain_of_flops(config: PendulumConfig, data: None, flops: float) -> Plain:
    """Return the network whose training step takes most nearly so many FLOPs."""
    shown = config.demonstrations * config.steps_shown
    return of_flops(flops, min(config.batch_size, shown), **sizes(config))


FULL = PendulumConfig(steps=1500)
TABLES = (
    table(
        "summary",
        column("cost_ratio", "cost of the closed loop over the expert's, mean", better="lower"),
        column("worst_cost", "the same, from the worst start", better="lower"),
        title="What the learned controllers do to the pendulum",
        caption="On the true pendulum over the steps of a plan, from the test starts.",
    ),
)


def _recipe() -> Recipe:
    small: dict[str, Any] = {
        "seeds": (0,),
        "steps": 60,
        "demonstrations": 4,
        "test_size": 4,
        "plan": 20,
        "steps_shown": 10,
        "horizon": 5,
        "num_evaluations": 2,
    }
    return recipe(
        {
            "deq": Arm(label="DEQ, plans with what it learned", make=learned),
            **twins(plain, plain_of_flops),
        },
        name="pendulum",
        title="A pendulum, kept upright as an expert does",
        source="After Amos et al. (2018), Differentiable MPC, section 5.",
        presets={
            "smoke": replace(FULL, **small),
            "quick": replace(FULL, seeds=(0,), steps=500, num_evaluations=2),
            "full": FULL,
        },
        task=PendulumTask,
        metric=PendulumTask.metric,
        restored=without_state,
        fields=("cost_ratio",),
        charts=((), TABLES),
        tolerance=f"rtol {SOLVER.rtol:g}",
        max_steps=f"at most {SOLVER.max_steps} steps",
        what="imitates",
        margin=0.0,
    )


RECIPES = (_recipe(),)
