"""One network that trains with one learning rate, and what is known of it then."""

from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.costs import num_parameters
from deqlab.experiments.base import Job, Row
from deqlab.experiments.resuming import checkpoint
from deqlab.recipes.config import RecipeConfig
from deqlab.recipes.task import Task
from deqlab.training.best_weights import BestWeights
from deqlab.training.checkpoints.checkpoint import Stateful
from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.fit import fit_rows
from deqlab.training.layers import knob_of, layers_of
from deqlab.training.loop import Loop
from deqlab.training.policies import POLICIES
from deqlab.training.rate_control import RateControl
from deqlab.training.solver_changes import SolverChanges


class Attempt:
    """A network with its optimiser.

    Args:
        model: The network.
        task: What it is trained on, and how.
        learning_rate: The peak of the learning rate.
        controlled: Whether `RateControl` may hold its layers.

    Attributes:
        rows: What was known at each evaluation.
        num_steps: Of the whole training, once it has begun.
        log: What its solves told; None if it has no DEQ layer.
        changes: What training changed of the solvers of its layers, by name.
        tune: Is called now and then with the network and the inputs of a batch, before the step.
    """

    def __init__(
        self, model: nn.Module, task: Task[Any], learning_rate: float, *, controlled: bool = True
    ) -> None:
        self.model, self.task = model, task
        self.learning_rate = learning_rate
        self.rows: list[Row] = []
        self.num_steps = 0
        self.log: ConvergenceLog | None = None
        self.changes = {name: SolverChanges(layer) for name, layer in layers_of(model).items()}
        self.tune: Callable[[nn.Module, Any], None] | None = None
        self._best = None if task.chosen_by is None else BestWeights(task.chosen_by)
        self._control: RateControl | None = None
        if self.changes:
            self._watch(task.config, controlled)

    def _watch(self, config: RecipeConfig, controlled: bool) -> None:
        """Log the solves, and hold the layers at their equilibrium if that is what they seek."""
        gradients = [layer.gradient for layer in layers_of(self.model).values()]
        seeks = any(each.in_mode(training=True).seeks_equilibrium for each in gradients)
        self.log = ConvergenceLog(self.model, policy=POLICIES[config.policy] if seeks else ())
        if config.rate and seeks and controlled:
            self._control = RateControl(self.model, target=config.rate)

    def train(self, job: Job) -> Iterator[Row]:
        """Train, and yield a row at each evaluation; a job that was interrupted goes on."""
        task, config = self.task, self.task.config
        batches = task.batches(torch.Generator().manual_seed(job.seed))
        steps = self.num_steps = len(batches)
        every = -(-steps // config.num_evaluations)
        optimizer = task.optimizer(self.model, self.learning_rate)
        seen = 0  # an optimiser may evaluate the loss of a batch more than once

        def loss(batch: Any) -> tuple[Tensor, None]:  # noqa: ANN401, that of the task
            nonlocal seen
            due = (batches.taken - 1) % task.steps_between_tunings == 0 and batches.taken != seen
            seen = batches.taken
            if self.tune is not None and due:
                self.tune(self.model, task.inputs(batch))
            return task.loss(self.model, batch), None

        loop: Loop[Any, None] = Loop(
            loss=loss,
            optimizer=optimizer,
            schedule=task.schedule(optimizer, self.learning_rate, steps),
            clip=config.clip or None,
        )
        parts: dict[str, Stateful] = {"model": self.model, **loop.parts, "batches": batches}
        parts |= task.parts
        if self.log is not None:
            parts["log"] = self.log
        if self._best is not None:
            parts["best"] = self._best
        with checkpoint(job, f"rate-{self.learning_rate:g}", parts) as file:
            rows = fit_rows(
                self.model,
                loop,
                batches,
                control=self._control,
                log=self.log,
                evaluate=self._evaluate,
                every=every,
                count_flops={*range(every, steps, every), steps},
                checkpoint=file,
                progress=False,
            )
            for row in rows:
                self.rows.append(row)
                yield row
        if self._best is not None:
            self._best.restore(self.model)

    def validation_loss(self) -> float:
        """Return the loss that decides between learning rates; nan loses against any number."""
        loss = self.task.validated(self.model)
        return float("inf") if loss != loss else loss

    def summary(self) -> Row:
        """Return the metrics of the weights that are kept, and what a step costs."""
        best = {} if self._best is None else self._best.row or {}
        return {
            **self.rows[-1],
            **best,
            "learning_rate": self.learning_rate,
            "flops_per_step": round(fmean(row["flops_per_step"] for row in self.rows)),
            "parameters": num_parameters(self.model),
        }

    def _evaluate(self, model: nn.Module) -> Row:
        row = self.task.tested(model) | self._knobs()
        if self._best is not None:
            self._best.see(model, row)
        return row

    def _knobs(self) -> Row:
        """Return the knob of the layer whose feedback is turned down most."""
        knobs = [
            knob.value.item()
            for layer in layers_of(self.model).values()
            if (knob := knob_of(layer)) is not None
        ]
        return {"knob": min(knobs)} if knobs else {}
