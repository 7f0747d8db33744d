"""What observers learn, true steps of a box on a spring, and how they are tested: from 0.

Errors of 1e-3 are asked for, and so those of a step of about 1e-5. L-BFGS, on one batch and in
float64, gets there. It drops a pair of its memory whose product is below 1e-10, and so needs a loss
in units in which it is not small.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.control.config import ObserverConfig
from deqlab.recipes.control.luenberger import LinearObserver, linear_observer
from deqlab.recipes.control.observers import Observer
from deqlab.recipes.task import Metric
from deqlab.tasks.spring_box import DT, trajectories
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import assessed
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of

TRAINED_SECONDS = 10.0
FINAL = 1e-3
"""The learning rate of Adam at the end, in units of its start; as published it falls by tenths."""

ITERATIONS, HISTORY = 20, 200
"""Of L-BFGS: iterations of a step, and how many it remembers."""

UNIT = 1e-3 * DT
"""An error of a step at which those of all steps come to about 1e-3: a loss of 1 is asked for."""

CURVE = 40
"""Points of the curve of errors over time."""

DIVERGED = 1e6
"""What stands for an error that is larger, or not finite."""


class ObserverTask(StepsTask[Tensor]):
    """Windows of trajectories, (B, window + 1, 2); observers start from 0 in a test."""

    metric: Metric = Metric(
        field="error",
        name="a largest error, once settled,",
        higher=False,
        show="{:.2g}".format,
        show_gap="{:+.2g}".format,
    )

    steps_between_tunings = 100

    def __init__(self, config: ObserverConfig) -> None:
        super().__init__(config)
        self.config: ObserverConfig = config
        self.dtype = torch.float64 if config.optimizer == "lbfgs" else torch.float32
        generator = torch.Generator().manual_seed(0)
        steps = round(TRAINED_SECONDS / DT)
        self._train = trajectories(
            config.trajectories, steps, reach=config.reach, generator=generator
        ).to(self.dtype)
        steps = round(config.test_seconds / DT)
        both = trajectories(
            2 * config.test_size, steps, reach=config.test_reach, generator=generator
        )
        self._test, self._choice = both.to(self.dtype).chunk(2)
        self.data: LinearObserver | None = None
        if config.start == "linear":
            before, after = self._train[:, :-1].flatten(0, 1), self._train[:, 1:].flatten(0, 1)
            self.data = linear_observer(before, after, bandwidth=config.bandwidth)

    @override
    def batches(self, generator: torch.Generator) -> Drawn[Tensor]:
        if self.config.optimizer == "adam":
            return Drawn(self.config.steps, generator, self._draw)
        batch = self._draw(generator)
        return Drawn(self.config.steps, generator, lambda _: batch)

    @override
    def inputs(self, batch: Tensor) -> Tensor:
        return batch

    @override
    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        if self.config.optimizer == "adam":
            return super().optimizer(model, rate)
        return LBFGS(
            model.parameters(),
            lr=rate,
            max_iter=ITERATIONS,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

    @override
    def schedule(self, optimizer: Optimizer, rate: float, steps: int) -> LRScheduler:
        """Return a rate that falls by three orders for Adam, and stays for L-BFGS."""
        final = FINAL if self.config.optimizer == "adam" else 1.0
        return LambdaLR(optimizer, lambda step: final ** (step / steps))

    @override
    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Return the mean square error of the next state, in units of UNIT."""
        assert isinstance(model, Observer)
        x, after = batch[:, :-1], batch[:, 1:]
        found = model.predicted(x, x[..., :1])
        return ((found - after[:, -found.shape[1] :]) / UNIT).square().mean()

    @override
    def tested(self, model: nn.Module) -> Row:
        return self._on(model, self._test)

    @override
    def validated(self, model: nn.Module) -> float:
        return float(self._on(model, self._choice)["error"])

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        yield from super().examined(model)
        found = evaluated(model, lambda model: {"errors": self._errors(model)})["errors"]
        every = max(1, found.shape[1] // CURVE)
        for at in range(every - 1, found.shape[1], every):
            worst = found[:, at].max().item()
            yield {"kind": "time", "seconds_in": (at + 1) * DT, "worst_error": worst}
        for start, error in enumerate(self._settled(found).tolist()):
            yield {"kind": "start", "start": start, "error": error}

    @override
    def about(self) -> dict[str, Any]:
        return {}

    def _draw(self, generator: torch.Generator) -> Tensor:
        size, window = self.config.batch_size, self.config.window
        number, length = self._train.shape[:2]
        rows = torch.randint(number, (size, 1), generator=generator)
        begins = torch.randint(length - window, (size, 1), generator=generator)
        return self._train[rows, begins + torch.arange(window + 1)]

    def _on(self, model: nn.Module, states: Float[Tensor, "B T 2"]) -> Row:
        def told(estimates: Tensor, true: Tensor) -> Row:
            errors = self._settled(_distance(estimates, true))
            return {"error": errors.max().item(), "median_error": errors.median().item()}

        config, steps = self.config, states.shape[1] - 1
        options: dict[str, Any] = {}
        if layers_of(model):
            (layer,) = layers_of(model).values()
            options = {"rtol": layer.solver.rtol, "max_steps": config.max_steps}
        row = assessed(model, (states[:, :-1, :1], states[:, 1:]), told, **options)
        if "test_evaluations" in row:
            row["test_evaluations"] /= steps
        return row

    def _errors(self, model: nn.Module) -> Float[Tensor, "B T"]:
        return _distance(model(self._test[:, :-1, :1]), self._test[:, 1:])

    def _settled(self, errors: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """Return the largest error of each trajectory once it has settled."""
        return errors[:, round(self.config.settled / DT) :].amax(dim=1)


def _distance(estimates: Tensor, true: Tensor) -> Float[Tensor, "B T"]:
    off: Tensor = torch.linalg.vector_norm((estimates - true).double(), dim=-1)
    return off.nan_to_num(nan=DIVERGED).clamp_max(DIVERGED)
