"""The networks of a comparison at equal cost: a DEQ, and FNNs (explicit feed-forward networks)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from deqlab.experiments.base import Job
from deqlab.experiments.comparing.own_parts import own_module, try_cell, try_model
from deqlab.experiments.config import (
    Config,
    check_at_least,
    check_at_most,
    check_choice,
    check_positive,
    require,
)
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import Dense
from deqlab.nn.cells.constraints import SpectralNorm, Triangular, Unconstrained
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.mlp import mlp
from deqlab.own.target import OwnCodeError
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.newton import Newton
from deqlab.solvers.picard import Picard
from deqlab.training.layers import layers_of

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

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""What is minimised, of the outputs and the targets."""

OWN = "own"
"""The arm of a network of the user's."""


@dataclass(frozen=True, kw_only=True)
class ArmsConfig(Config):
    """The fields of every comparison between a DEQ and FNNs.

    Attributes:
        seeds: One job of every arm for each; they fix initialisation and the order of the data.
        width: The size of the DEQ's state.
        depths: The numbers of hidden layers of the FNNs.
        activation: "relu" or "tanh", in all arms.
        constraint: The constraint on the DEQ's weight: "none", "spectral" or "triangular".
        bound: The largest spectral norm, or diagonal entry, that the constraint allows.
        gain: The initial scale of that weight: its spectral radius is about this.
        solver: The solver of the DEQ: "anderson", "picard" or "newton", whose adjoint is solved by
            a factorisation too.
        rtol: The relative tolerance of the solver in training.
        test_rtol: The same when it is tested, unless `rtol` is smaller.
        max_steps: The most evaluations of f in training.
        test_max_steps: The same when it is tested, at least `max_steps`.
        dtype: "float32" or "float64", of all numbers.
        batch_size: Samples per training step.
        learning_rates: Initial learning rates of AdamW, which fall on a cosine. Every network
            trains with each of them, from the same initial weights, and the one of least
            validation loss is kept: the same search for all arms.
        weight_decay: The weight decay of AdamW.
        num_evaluations: Points of the learning curves.
        cell: MODULE:NAME of a cell of yours in the place of the dense one, called with the number
            of inputs and `width`, which is the size of its state; `activation`, `constraint`,
            `bound` and `gain` are not its.
        model: MODULE:NAME of a network of yours that competes beside the FNNs, at a cost of its
            own; called with the numbers of inputs and outputs.
    """

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
    cell: str | None = None
    model: str | None = None

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
        check_at_most(self, 1, "bound")
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
    """What all networks of one comparison share."""

    config: ArmsConfig
    num_inputs: int
    num_outputs: int


def build(shape: Shape, job: Job) -> nn.Sequential:
    """Return the network of a job, initialised from torch's global generator."""
    settings = job.settings
    if settings["family"] == OWN:
        model = own(shape)
    elif settings["family"] == "deq":
        model = deq(shape)
    else:
        model = fnn(shape, settings["depth"], settings["width"])
    return model.to(DTYPES[shape.config.dtype])


def deq(shape: Shape) -> nn.Sequential:
    """Return the DEQ with its linear readout."""
    config = shape.config
    solver = SOLVERS[config.solver](rtol=config.rtol, max_steps=config.max_steps)
    # Newton is for maps near the edge of well-posedness, where GMRES has a long way too.
    gradient = Implicit(solver=Dense()) if config.solver == "newton" else Implicit()
    # Failures do not warn a thousand times here: every row carries the share that converged.
    layer = DEQ(_cell(shape), solver=solver, gradient=gradient, on_failure="ignore")
    return nn.Sequential(layer, nn.Linear(config.width, shape.num_outputs))


def _cell(shape: Shape) -> nn.Module:
    config = shape.config
    if config.cell is not None:
        how = "NAME(num_inputs, width)"
        return own_module(config.cell, how, shape.num_inputs, config.width)
    return DenseCell(
        shape.num_inputs,
        config.width,
        activation=ACTIVATIONS[config.activation](),
        constraint=CONSTRAINTS[config.constraint](config.bound),
        gain=config.gain,
    )


def own(shape: Shape) -> nn.Sequential:
    """Return the network of the user's that competes."""
    assert shape.config.model is not None
    how = "NAME(num_inputs, num_outputs)"
    model = own_module(shape.config.model, how, shape.num_inputs, shape.num_outputs)
    if layers_of(model):
        raise OwnCodeError(
            f"{shape.config.model} has a DEQ layer, whose solves this comparison does not follow: "
            "give it the cell of that layer by --set cell=MODULE:NAME"
        )
    return nn.Sequential(model)


def try_own(shape: Shape, loss: Loss, target: Tensor) -> None:
    """Raise OwnCodeError unless the parts of the user's fit.

    Args:
        shape: What the networks share.
        loss: The training loss.
        target: Targets of a few samples.
    """
    config, dtype = shape.config, DTYPES[shape.config.dtype]
    x = torch.randn(len(target), shape.num_inputs, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng([]):
        if config.cell is not None:
            layer = deq(shape).to(dtype)[0]
            assert isinstance(layer, DEQ)
            try_cell(config.cell, layer, x.to(dtype), (config.width,))
        if config.model is not None:
            model = own(shape).to(dtype)
            outputs = (len(target), shape.num_outputs)
            try_model(config.model, lambda: loss(_shaped(model(x.to(dtype)), outputs), target))


def _shaped(output: Tensor, shape: tuple[int, ...]) -> Tensor:
    if output.shape != shape:
        raise ValueError(f"its outputs are {tuple(output.shape)}, and those that are due {shape}")
    return output


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
