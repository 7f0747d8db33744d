"""The arms of a comparison at equal cost: a DEQ, and FNNs matched to it.

An FNN (explicit feed-forward network) of given depth is matched to the DEQ by its width, once in
parameters and once in FLOPs per training step. The DEQ's FLOPs depend on how many iterations its
training takes, so they are measured while it trains, and the second set of FNNs is planned when
all seeds of the DEQ are done. A depth of which no width comes within a quarter of the DEQ's cost
is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.experiments.base import Job, Row, summaries
from deqlab.experiments.comparing.cost import flops
from deqlab.experiments.config import (
    Config,
    check_at_least,
    check_at_most,
    check_choice,
    check_positive,
    require,
)
from deqlab.gradients import Dense, Implicit
from deqlab.nn import DEQ, DenseCell, SpectralNorm, Triangular, Unconstrained, mlp
from deqlab.solution import Solution
from deqlab.solvers import Anderson, Newton, Picard

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
CONSTRAINTS: dict[str, Callable[[float], nn.Module]] = {
    "none": lambda bound: Unconstrained(),
    "spectral": SpectralNorm,
    "triangular": Triangular,
}
SOLVERS: dict[str, type[Anderson] | type[Picard] | type[Newton]] = {
    "anderson": Anderson,
    "picard": Picard,
    "newton": Newton,
}
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}

PARAMETERS = "parameters"
FLOPS = "FLOPs per step"
VIEWS = (PARAMETERS, FLOPS)

WITHIN = 0.25
"""Share of the DEQ's cost by which a network that matches it may miss."""

Loss = Callable[[Tensor, Tensor], Tensor]


class BudgetError(ValueError):
    """No network of the comparison costs what the DEQ costs."""


@dataclass(frozen=True, kw_only=True)
class ArmsConfig(Config):
    """The fields of every comparison between a DEQ and FNNs.

    Attributes:
        seeds: One job of every arm for each; they fix initialisation and the order of the data.
        width: Size of the DEQ's state.
        depths: Hidden layers of the FNNs.
        activation: "relu" or "tanh", in all arms.
        constraint: Of the DEQ's weight: "none", "spectral" or "triangular".
        bound: Of the constraint: the largest spectral norm, or diagonal entry.
        gain: Initial scale of that weight: its spectral radius is about this.
        solver: Of the DEQ: "anderson", "picard" or "newton", whose adjoint is solved by a
            factorisation too.
        rtol: Its relative tolerance, in training.
        test_rtol: The same when it is tested, unless `rtol` is smaller.
        max_steps: Its evaluations of f at most, in training.
        test_max_steps: The same when it is tested, at least `max_steps`.
        dtype: "float32" or "float64", of all numbers.
        batch_size: Samples per training step.
        learning_rates: Of AdamW at the start; it falls on a cosine. Every network trains with
            each of them, from the same initial weights, and the one of least validation loss is
            kept: the same search for all arms.
        weight_decay: Of AdamW.
        num_evaluations: Points of the learning curves.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    width: int = 64
    depths: tuple[int, ...] = (1, 2, 3)
    activation: str = "relu"
    constraint: str = "spectral"
    bound: float = 0.95
    gain: float = 0.5
    solver: str = "anderson"
    rtol: float = 1e-3
    test_rtol: float = 1e-3
    max_steps: int = 60
    test_max_steps: int = 1000
    dtype: str = "float32"
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (3e-3,)
    weight_decay: float = 1e-2
    num_evaluations: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "activation", ACTIVATIONS)
        check_choice(self, "constraint", CONSTRAINTS)
        check_choice(self, "solver", SOLVERS)
        check_choice(self, "dtype", DTYPES)
        check_at_least(self, 1, "width", "max_steps", "batch_size", "num_evaluations")
        check_at_least(self, self.max_steps, "test_max_steps")
        check_at_least(self, 0, "weight_decay")
        check_positive(self, "gain", "rtol", "test_rtol", "bound")
        require(self.bound <= 1, f"bound must be at most 1, got {self.bound}")
        require(
            len(set(self.learning_rates)) == len(self.learning_rates) > 0
            and all(0 < rate < float("inf") for rate in self.learning_rates),
            "learning_rates needs one or more different numbers above 0, got "
            f"{list(self.learning_rates)}",
        )
        require(
            len(self.depths) > 0 and min(self.depths) >= 1,
            f"depths needs one or more numbers of at least 1, got {list(self.depths)}",
        )
        check_at_most(self, 100, "depths")
        check_at_most(self, 2**20, "width", "batch_size")  # more would fill any memory


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all arms of one experiment share."""

    config: ArmsConfig
    num_inputs: int
    num_outputs: int


def build(shape: Shape, job: Job) -> nn.Sequential:
    """Return the network of a job, initialised from torch's global generator."""
    settings = job.settings
    is_deq = settings["family"] == "deq"
    model = deq(shape) if is_deq else fnn(shape, settings["depth"], settings["width"])
    return model.to(DTYPES[shape.config.dtype])


def deq(shape: Shape) -> nn.Sequential:
    """Return the DEQ with its linear readout."""
    config = shape.config
    cell = DenseCell(
        shape.num_inputs,
        config.width,
        activation=ACTIVATIONS[config.activation](),
        constraint=CONSTRAINTS[config.constraint](config.bound),
        gain=config.gain,
    )
    solver = SOLVERS[config.solver](rtol=config.rtol, max_steps=config.max_steps)
    # Newton is for maps near the edge of well-posedness, where GMRES has a long way too.
    gradient = Implicit(solver=Dense()) if config.solver == "newton" else Implicit()
    # Failures do not warn a thousand times here: every row carries the share that converged.
    layer = DEQ(cell, solver=solver, gradient=gradient, on_failure="ignore")
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


def solved_to_convergence(model: nn.Sequential, config: ArmsConfig) -> nn.Sequential:
    """Return the same network, with the accuracy and the patience of a test."""
    layer = model[0]
    if not isinstance(layer, DEQ):
        return model
    rtol = min(config.rtol, config.test_rtol)
    solver = replace(layer.solver, rtol=rtol, max_steps=config.test_max_steps)
    return nn.Sequential(DEQ(layer.cell, solver=solver, on_failure="ignore"), model[1])


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
        width = closest(partial(_num_parameters, shape, depth), budget)
        if width is not None:
            arms[f"fnn-{depth}-parameters"] = _fnn_settings(depth, width, PARAMETERS)
    spent = [row["flops_per_step"] for row in summaries(rows) if row["arm"] == "deq"]
    if len(spent) == len(config.seeds):
        for depth in config.depths:
            width = closest(partial(_step_flops, shape, loss, target, depth), round(median(spent)))
            if width is not None:
                arms[f"fnn-{depth}-flops"] = _fnn_settings(depth, width, FLOPS)
    return [
        Job(arm=arm, seed=seed, settings=settings)
        for arm, settings in arms.items()
        for seed in config.seeds
    ]


def check(shape: Shape) -> None:
    """Raise BudgetError if no FNN has about as many parameters as the DEQ."""
    with torch.device("meta"):
        budget = num_parameters(deq(shape))
    costs = [partial(_num_parameters, shape, depth) for depth in shape.config.depths]
    if all(closest(cost, budget) is None for cost in costs):
        least = min(cost(1) for cost in costs)
        raise BudgetError(
            f"no FNN of depth {' or '.join(map(str, shape.config.depths))} comes within "
            f"{WITHIN:.0%} of the DEQ's {budget} parameters: the smallest has {least}; take "
            "smaller depths or a larger width"
        )


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


def closest(cost: Callable[[int], int], budget: int) -> int | None:
    """Return the width at least 1 whose cost, which grows with it, is closest to `budget`.

    None: even that misses the budget by more than a quarter.
    """
    high = 1
    while cost(high) < budget:
        high *= 2
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < budget else (low, middle)
    width = min((low, high), key=lambda width: abs(cost(width) - budget))
    return width if abs(cost(width) - budget) <= WITHIN * budget else None


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
