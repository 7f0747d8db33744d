"""Training one arm, with everything measured that a comparison needs.

An arm trains once with every learning rate, from the same initial weights on the same batches, and
keeps the network of least validation loss: so the search costs every arm the same. Rows of kind
"search" tell of all of them; those of kind "step" (at each evaluation), "trace" (residual against
iteration on the test set) and "summary" are of the one that is kept. All are functions of the
seed but for the field "seconds". While a network trains, its evaluations are told as progress,
and checkpoints in the folder of the job let it go on after an interruption.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from deqlab.costs import num_parameters, peak_memory
from deqlab.experiments.base import Job, Row, progress
from deqlab.experiments.comparing.arms import ArmsConfig, Loss, forward, solved_to_convergence
from deqlab.experiments.comparing.tally import Tally
from deqlab.experiments.resuming import checkpoint
from deqlab.solution import Solution
from deqlab.stability.equilibria import Solves
from deqlab.training.batches import Batches, Replayed
from deqlab.training.checkpoints.checkpoint import SHORT, Progress
from deqlab.training.loop import Loop

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Inputs and targets."""

Predict: TypeAlias = Callable[[Tensor], Tensor]
"""Inputs to outputs, a DEQ solved to convergence, without a tape."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every arm of an experiment is trained and tested.

    Attributes:
        config: Optimizer settings, and how many rows of kind "step" there are, spread evenly.
        batches: Makes the training batches of a seed, in order, in one pass; `Batches` go on
            after an interruption without loading what came before.
        num_steps: How many there are.
        test: The test set.
        validation: On which the learning rate is chosen, if there are several.
        loss: What is minimised.
        accuracy: Share of right answers, or None where the question has none.
        after: Yields more rows of the trained network, in particular of what it predicts.
    """

    config: ArmsConfig
    batches: Callable[[int], Iterable[Batch]]
    num_steps: int
    test: Batch
    validation: Batch | None = None
    loss: Loss
    accuracy: Callable[[Tensor, Tensor], float] | None = None
    after: Callable[[Predict], Iterator[Row]] | None = None


def train(build: Callable[[], nn.Sequential], training: Training, job: Job) -> Iterator[Row]:
    """Train a network and yield its rows.

    Args:
        build: Makes the network, from torch's global generator.
        training: How to train and test it.
        job: The arm and the seed.
    """
    rates = training.config.learning_rates
    start, attempts = torch.get_rng_state(), []
    for number, rate in enumerate(rates):
        torch.set_rng_state(start)
        attempt = _Attempt(build(), rate, training)
        for row in attempt.train(job):
            told = progress(row, num_steps=training.num_steps, attempt=number, attempts=len(rates))
            yield {**told, "learning_rate": rate}
        attempts.append(attempt)
    best = attempts[0]
    if len(attempts) > 1:
        losses = [attempt.validation_loss() for attempt in attempts]
        for rate, loss in zip(rates, losses, strict=True):
            yield {"kind": "search", "learning_rate": rate, "validation_loss": loss}
        best = attempts[losses.index(min(losses))]
    yield from ({"kind": "step", **row} for row in best.steps)
    converged = solved_to_convergence(best.model, training.config)
    yield from _trace(converged, training.test[0])
    if training.after is not None:
        yield from training.after(partial(_predict, converged))
    yield {"kind": "summary", **_described(job), **best.summary()}


class _Attempt:
    """A network that trains with one learning rate."""

    def __init__(self, model: nn.Sequential, rate: float, training: Training) -> None:
        self.model, self.rate, self.training = model, rate, training
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=rate, weight_decay=training.config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, training.num_steps)
        self.loop = Loop(loss=self._loss, optimizer=self.optimizer, schedule=schedule)
        self.steps: list[Row] = []
        self.taken, self.tally, self.seconds = 0, Tally(), 0.0
        self.batch: Batch

    def train(self, job: Job) -> Iterator[Row]:
        """Train on the batches of a seed, and yield a row at each evaluation.

        Those before an interruption come first, with the network as the last checkpoint has it.
        """
        training = self.training
        marks = _evaluation_steps(training.num_steps, training.config.num_evaluations)
        batches = training.batches(job.seed)
        batches = batches if isinstance(batches, Batches) else Replayed(batches)
        parts = {"model": self.model, **self.loop.parts, "batches": batches}
        with checkpoint(job, f"training-{self.rate!r}", parts) as file:
            self._resume(file.load())
            yield from self.steps
            run = self.loop.run(self._seen(batches), count_flops=marks, taken=self.taken)
            for step in run:
                self.taken = step.index
                self.tally.add(step.loss, step.notes)
                self.seconds += step.seconds
                if step.index in marks:
                    yield self._evaluated(step.flops)
                if file.due:
                    file.save(self._progress())
            if file.unsaved >= SHORT:
                file.save({**self._progress(), "batch": self.batch})

    def _evaluated(self, flops: int | None) -> Row:
        row = {"step": self.taken, **self.tally.row(), **evaluate(self.model, self.training)}
        self.tally = Tally()
        self.steps.append({**row, "flops": flops, "seconds": self.seconds})
        return self.steps[-1]

    def _progress(self) -> Progress:
        return {
            "step": self.taken,
            "num_steps": self.training.num_steps,
            "seconds": self.seconds,
            "steps": self.steps,
            "tally": asdict(self.tally),
        }

    def _resume(self, progress: Progress | None) -> None:
        if progress is None:
            return
        self.taken, self.seconds = progress["step"], progress["seconds"]
        self.steps, self.tally = progress["steps"], Tally(**progress["tally"])
        if "batch" in progress:  # training had ended, and the summary takes a step on it
            self.batch = progress["batch"]

    def validation_loss(self) -> float:
        """Return the loss that decides between learning rates; a nan loses against any number."""
        assert self.training.validation is not None, "learning rates need a validation set"
        x, y = self.training.validation
        with torch.no_grad():
            output, _ = forward(solved_to_convergence(self.model, self.training.config), x)
            loss = self.training.loss(output, y).item()
        return math.inf if math.isnan(loss) else loss

    def summary(self) -> Row:
        """Return the last metrics, and what a step costs."""
        tensors = [*_held(self.model, self.optimizer), *self.batch]
        last = {name: value for name, value in self.steps[-1].items() if name != "flops"}
        return {
            **last,
            "learning_rate": self.rate,
            "flops_per_step": round(fmean(row["flops"] for row in self.steps)),
            "parameters": num_parameters(self.model),
            "peak_memory_bytes": peak_memory(partial(self.loop.step, self.batch), tensors),
        }

    def _seen(self, batches: Batches[Batch]) -> Iterator[Batch]:
        """Yield the batches, and remember the last one."""
        for batch in batches:
            self.batch = batch
            yield batch

    def _loss(self, batch: Batch) -> tuple[Tensor, Solution | None]:
        x, y = batch
        output, solution = forward(self.model, x)
        return self.training.loss(output, y), solution


def evaluate(model: nn.Sequential, training: Training) -> Row:
    """Return the test metrics of a model as it stands, a DEQ solved to convergence."""
    x, y = training.test
    model.eval()
    with torch.no_grad():
        output, solution = forward(solved_to_convergence(model, training.config), x)
        row: Row = {"test_loss": training.loss(output, y).item()}
    model.train()
    if training.accuracy is not None:
        row["test_accuracy"] = training.accuracy(output, y)
    if solution is not None:
        solves = Solves()
        solves.add(solution)
        row |= {"test_evaluations": solution.evaluations}
        row |= solves.row("residual", "residual_max", "converged")
    return row


def _trace(model: nn.Sequential, x: Tensor) -> Iterator[Row]:
    with torch.no_grad():
        _, solution = forward(model, x)
    if solution is None:
        return
    size = torch.linalg.vector_norm(solution.matrix, dim=1).clamp_min(1e-30)
    for iteration, residual in enumerate(solution.trace / size, start=1):
        yield {
            "kind": "trace",
            "iteration": iteration,
            "residual": residual.median().item(),
            "residual_max": residual.max().item(),
        }


@torch.no_grad()
def _predict(model: nn.Sequential, x: Tensor) -> Tensor:
    return forward(model, x)[0]


def _evaluation_steps(num_steps: int, num_evaluations: int) -> set[int]:
    count = min(num_steps, num_evaluations)
    return {round(num_steps * (i + 1) / count) for i in range(count)}


def _described(job: Job) -> dict[str, Any]:
    return {name: job.settings[name] for name in ("label", "matching")}


def _held(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    yield from model.parameters()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
