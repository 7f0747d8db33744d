"""The arms of a comparison at equal cost: a DEQ, and FNNs matched to it.

An FNN (explicit feed-forward network) of given depth is matched to the DEQ by its width, once in
parameters and once in FLOPs per training step. The DEQ's FLOPs depend on how many iterations its
training takes, so they are measured while it trains, and the second set of FNNs is planned when
all seeds of the DEQ are done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.experiments.base import (
    Job,
    Row,
    check_at_least,
    check_choice,
    check_positive,
    check_seeds,
    require,
    summaries,
)
from deqlab.experiments.comparing.cost import flops
from deqlab.nn import DEQ, DenseCell, SpectralNorm, Triangular, Unconstrained, mlp
from deqlab.solution import Solution
from deqlab.solvers import Anderson, Picard

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
CONSTRAINTS: dict[str, type[nn.Module]] = {
    "none": Unconstrained,
    "spectral": SpectralNorm,
    "triangular": Triangular,
}
SOLVERS: dict[str, type[Anderson] | type[Picard]] = {"anderson": Anderson, "picard": Picard}

PARAMETERS = "parameters"
FLOPS = "FLOPs per step"

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ArmsConfig:
    """The fields of every comparison between a DEQ and FNNs.

    Attributes:
        seeds: One job of every arm for each; they fix initialisation and the order of the data.
        width: Size of the DEQ's state.
        depths: Hidden layers of the FNNs.
        activation: "relu" or "tanh", in all arms.
        constraint: Of the DEQ's weight: "none", "spectral" or "triangular".
        gain: Initial scale of that weight: its spectral radius is about this.
        solver: Of the DEQ: "anderson" or "picard".
        rtol: Its relative tolerance.
        max_steps: Its evaluations of f at most.
        batch_size: Samples per training step.
        learning_rate: Of AdamW at the start, the same for all arms; it falls on a cosine.
        weight_decay: Of AdamW.
        num_evaluations: Points of the learning curves.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    width: int = 64
    depths: tuple[int, ...] = (1, 2, 3)
    activation: str = "relu"
    constraint: str = "spectral"
    gain: float = 0.5
    solver: str = "anderson"
    rtol: float = 1e-3
    max_steps: int = 60
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    num_evaluations: int = 20

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        check_choice(self, "activation", ACTIVATIONS)
        check_choice(self, "constraint", CONSTRAINTS)
        check_choice(self, "solver", SOLVERS)
        check_at_least(self, 1, "width", "max_steps", "batch_size", "num_evaluations")
        check_at_least(self, 0, "weight_decay")
        check_positive(self, "gain", "rtol", "learning_rate")
        require(
            len(self.depths) > 0 and min(self.depths) >= 1,
            f"depths needs one or more numbers of at least 1, got {list(self.depths)}",
        )


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all arms of one experiment share."""

    config: ArmsConfig
    num_inputs: int
    num_outputs: int


def build(shape: Shape, job: Job) -> nn.Sequential:
    """Return the network of a job, initialised from torch's global generator."""
    if job.settings["family"] == "fnn":
        return fnn(shape, job.settings["depth"], job.settings["width"])
    return deq(shape)


def deq(shape: Shape) -> nn.Sequential:
    """Return the DEQ with its linear readout."""
    config = shape.config
    cell = DenseCell(
        shape.num_inputs,
        config.width,
        activation=ACTIVATIONS[config.activation](),
        constraint=CONSTRAINTS[config.constraint](),
        gain=config.gain,
    )
    solver = SOLVERS[config.solver](rtol=config.rtol, max_steps=config.max_steps)
    # Failures do not warn a thousand times here: every row carries the share that converged.
    layer = DEQ(cell, solver=solver, on_failure="ignore")
    return nn.Sequential(layer, nn.Linear(config.width, shape.num_outputs))


def fnn(shape: Shape, depth: int, width: int) -> nn.Sequential:
    """Return an FNN with `depth` hidden layers of `width`."""
    sizes = [shape.num_inputs, *[width] * depth, shape.num_outputs]
    return mlp(sizes, activation=ACTIVATIONS[shape.config.activation])


def forward(model: nn.Sequential, x: Tensor) -> tuple[Tensor, Solution | None]:
    """Return the output, and the solve inside it if the model has one."""
    if not isinstance(model[0], DEQ):
        return model(x), None
    solution = model[0].solve(x)
    return model[1](solution.value), solution


def plan(shape: Shape, loss: Loss, target: Tensor, rows: Sequence[Row]) -> list[Job]:
    """Return the jobs of the comparison, as far as `rows` determine them.

    Args:
        shape: What the arms share.
        loss: The training loss, for the FLOPs of an FNN's step.
        target: A batch of targets, for the same.
        rows: What finished jobs left.
    """
    config = shape.config
    arms: dict[str, dict[str, Any]] = {
        "deq": {"family": "deq", "label": f"DEQ, width {config.width}", "matching": None}
    }
    with torch.device("meta"):
        budget = num_parameters(deq(shape))
    for depth in config.depths:
        width = _closest(partial(_num_parameters, shape, depth), budget)
        arms[f"fnn-{depth}-parameters"] = _fnn_settings(depth, width, PARAMETERS)
    spent = [row["flops_per_step"] for row in summaries(rows) if row["arm"] == "deq"]
    if len(spent) == len(config.seeds):
        for depth in config.depths:
            width = _closest(partial(_step_flops, shape, loss, target, depth), round(median(spent)))
            arms[f"fnn-{depth}-flops"] = _fnn_settings(depth, width, FLOPS)
    return [
        Job(arm=arm, seed=seed, settings=settings)
        for arm, settings in arms.items()
        for seed in config.seeds
    ]


def num_parameters(model: nn.Module) -> int:
    """Return how many numbers a model trains."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _fnn_settings(depth: int, width: int, matching: str) -> dict[str, Any]:
    return {
        "family": "fnn",
        "depth": depth,
        "width": width,
        "matching": matching,
        "label": f"FNN, depth {depth}, width {width}",
    }


def _closest(cost: Callable[[int], int], budget: int) -> int:
    """Return the width at least 1 whose cost, which grows with it, is closest to `budget`."""
    high = 1
    while cost(high) < budget:
        high *= 2
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < budget else (low, middle)
    return min((low, high), key=lambda width: abs(cost(width) - budget))


def _meta(shape: Shape, depth: int, width: int) -> nn.Sequential:
    with torch.device("meta"):
        return fnn(shape, depth, width)


def _num_parameters(shape: Shape, depth: int, width: int) -> int:
    return num_parameters(_meta(shape, depth, width))


def _step_flops(shape: Shape, loss: Loss, target: Tensor, depth: int, width: int) -> int:
    model = _meta(shape, depth, width)
    x = torch.empty(len(target), shape.num_inputs, device="meta")
    y = target.to("meta")
    count, _ = flops(lambda: loss(model(x), y).backward())
    return count
