"""The arms of `sawtooth-loops`: loops, DEQs of the same cell, and FNNs of their cost.

A loop and the DEQ without a constraint are one network, whose `gradient` is another; the DEQs with
a constraint have an equilibrium at all weights. FNNs match the loops: in parameters, which all
loops have in common, and in FLOPs of a training step, which grow with their steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import mse_loss

from deqlab.costs import flops, num_parameters
from deqlab.experiments.base import Job
from deqlab.experiments.comparing.matching import FLOPS, PARAMETERS, BudgetError, closest
from deqlab.experiments.config import (
    Config,
    check_at_least,
    check_at_most,
    check_increasing,
    check_positive,
    require,
)
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.loops import Loops
from deqlab.nn.cells.constraints import SpectralNorm, Triangular, Unconstrained
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.mlp import mlp
from deqlab.solvers.anderson import Anderson


@dataclass(frozen=True)
class Constraint:
    """What keeps a DEQ at its equilibrium: the module, in words, and the scale that V starts with.

    Attributes:
        make: Makes it.
        label: What people call it.
        gain: Times the gain of the config.
    """

    make: Callable[[], nn.Module]
    label: str
    gain: float = 1.0


CONSTRAINTS = {
    "free": Constraint(Unconstrained, "no constraint"),
    "spectral": Constraint(partial(SpectralNorm, 0.95), "spectral norm 0.95"),
    # Half of V is not used: twice the scale, as in the experiments on sawtooths beside.
    "triangular": Constraint(partial(Triangular, 0.5), "triangular, diagonal 0.5", gain=2.0),
}


@dataclass(frozen=True, kw_only=True)
class NetworksConfig(Config):
    """What the networks are, and how accurately they are solved.

    Attributes:
        width: The size of the state of loops and DEQs.
        gain: The scale of the recurrent weight when training begins.
        loops: The numbers of steps of the loops, increasing.
        cells: The constraints of the DEQs: "free", "spectral", "triangular".
        depths: The numbers of hidden layers of the FNNs, increasing.
        batch_size: Points of a training step.
        rtol: The relative tolerance of DEQs in training, by which loops are judged as well.
        max_steps: The most evaluations of a solve in training.
        test_rtol: The relative tolerance to which loops and DEQs are solved when they are tested.
        test_max_steps: The most evaluations of such a solve.
    """

    width: int = 10
    gain: float = 1.0
    loops: tuple[int, ...] = (5, 10, 30)
    cells: tuple[str, ...] = ("free", "spectral", "triangular")
    depths: tuple[int, ...] = (1, 2, 5, 10)
    batch_size: int = 256
    rtol: float = 1e-3
    max_steps: int = 60
    test_rtol: float = 1e-4
    test_max_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", "batch_size", "max_steps", "test_max_steps")
        check_at_most(self, 2**12, "width")
        check_at_most(self, 2**20, "batch_size")
        check_positive(self, "gain", "rtol", "test_rtol")
        check_increasing(self, "loops", least=1)
        check_increasing(self, "depths", least=1, most=100)
        different = 0 < len(set(self.cells)) == len(self.cells)
        require(different, f"cells needs one or more different names, got {list(self.cells)}")
        for cell in self.cells:
            require(cell in CONSTRAINTS, f"cells are {', '.join(CONSTRAINTS)}; got {cell!r}")


def plan(config: NetworksConfig) -> list[Job]:
    """Return one job for each arm and seed, the arms of a seed one after the other.

    So a run that takes days can be looked at when its first seeds are done.
    """
    arms: dict[str, dict[str, Any]] = {}
    for steps in config.loops:
        arms[f"loop-{steps}"] = {
            "family": "loop",
            "steps": steps,
            "label": f"Loop of {steps} steps",
            "matching": None,
        }
    for cell in config.cells:
        arms[f"deq-{cell}"] = {
            "family": "deq",
            "cell": cell,
            "label": f"DEQ, {CONSTRAINTS[cell].label}",
            "matching": None,
        }
    arms |= _fnns(config)
    return [
        Job(arm=arm, seed=seed, settings=of) for seed in config.seeds for arm, of in arms.items()
    ]


def check(config: NetworksConfig) -> None:
    """Raise BudgetError if no FNN has about as many parameters as the loops."""
    if not _matching(config, "parameters", PARAMETERS):
        raise BudgetError(
            f"no FNN of depth {' or '.join(map(str, config.depths))} has about as many parameters "
            f"as a loop of width {config.width}; take smaller depths or a larger width"
        )


def build(config: NetworksConfig, job: Job) -> nn.Sequential:
    """Return the network of a job, initialised from torch's global generator."""
    settings = job.settings
    if settings["family"] == "fnn":
        return _fnn(settings["depth"], settings["width"])
    if settings["family"] == "loop":
        return _recurrent(config, "free", Loops(steps=settings["steps"]))
    return _recurrent(config, settings["cell"], Implicit())


def step_flops(network: nn.Sequential, x: torch.Tensor) -> int:
    """Return the floating-point operations of the gradient of a training step."""

    def step() -> None:
        mse_loss(network(x), torch.zeros_like(x)).backward()

    return flops(step)[0]


def _recurrent(config: NetworksConfig, cell: str, gradient: Gradient) -> nn.Sequential:
    constraint = CONSTRAINTS[cell]
    layer = DEQ(
        DenseCell(
            1,
            config.width,
            activation=torch.relu,
            constraint=constraint.make(),
            gain=constraint.gain * config.gain,
        ),
        solver=Anderson(rtol=config.rtol, max_steps=config.max_steps),
        gradient=gradient,
        on_failure="ignore",  # every row carries the share that converged
    )
    return nn.Sequential(layer, nn.Linear(config.width, 1))


def _fnn(depth: int, width: int) -> nn.Sequential:
    return mlp([1, *[width] * depth, 1])


def _fnns(config: NetworksConfig) -> dict[str, dict[str, Any]]:
    """Return the FNNs that match the loops; a depth that comes near at no width is left out."""
    found = _matching(config, "parameters", PARAMETERS)
    for steps in config.loops:
        found |= _matching(config, f"loop-{steps}", f"{FLOPS} of the loop of {steps}", steps)
    return found


@cache  # counting FLOPs takes seconds, and a plan is made more than once
def _matching(
    config: NetworksConfig, name: str, matching: str, steps: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return the FNNs with the FLOPs of the loop of so many steps; None: with its parameters."""
    loop = _recurrent(config, "free", Loops(steps=steps or 1))
    if steps is None:
        cost, budget = _num_weights, num_parameters(loop)
    else:
        x = torch.zeros(config.batch_size, 1)
        cost, budget = partial(_meta_flops, x.to("meta")), step_flops(loop, x)
    widths = {depth: closest(partial(cost, depth), budget) for depth in config.depths}
    return {
        f"fnn-{depth}-{name}": {
            "family": "fnn",
            "depth": depth,
            "width": width,
            "matching": matching,
            "label": f"FNN, depth {depth}, width {width}",
        }
        for depth, width in widths.items()
        if width is not None
    }


def _num_weights(depth: int, width: int) -> int:
    with torch.device("meta"):
        return num_parameters(_fnn(depth, width))


def _meta_flops(x: torch.Tensor, depth: int, width: int) -> int:
    with torch.device("meta"):
        return step_flops(_fnn(depth, width), x)
