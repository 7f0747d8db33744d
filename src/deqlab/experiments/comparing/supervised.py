"""Training one arm, with everything measured that a comparison needs.

Yields rows of kind "step" (at each evaluation), "trace" (residual against iteration on the test
set) and "summary". All are functions of the seed but for the field "seconds".
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from deqlab.experiments.base import Job, Row
from deqlab.experiments.comparing.arms import ArmsConfig, Loss, forward, num_parameters
from deqlab.experiments.comparing.cost import flops, peak_memory
from deqlab.solution import Solution

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Inputs and targets."""

Step: TypeAlias = tuple[Tensor, Solution | None]
"""The loss of a training step, and its solve."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every arm of an experiment is trained and tested.

    Attributes:
        config: Optimizer settings, and how many rows of kind "step" there are, spread evenly.
        batches: Makes the training batches of a seed, in order, in one pass.
        num_steps: How many there are.
        test: The test set.
        loss: What is minimised.
        accuracy: Share of right answers, or None where the question has none.
    """

    config: ArmsConfig
    batches: Callable[[int], Iterable[Batch]]
    num_steps: int
    test: Batch
    loss: Loss
    accuracy: Callable[[Tensor, Tensor], float] | None


@dataclass
class _Tally:
    """What happened since the last evaluation."""

    losses: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    converged: list[float] = field(default_factory=list)

    def add(self, loss: Tensor, solution: Solution | None) -> None:
        self.losses.append(loss.item())
        if solution is not None:
            self.evaluations.append(solution.evaluations)
            self.products.append(sum(adjoint.evaluations for adjoint in solution.adjoint))
            both = [solution, *solution.adjoint]
            self.converged.append(min(s.converged.double().mean().item() for s in both))

    def row(self) -> Row:
        row: Row = {"train_loss": fmean(self.losses)}
        if self.evaluations:
            row["evaluations"] = fmean(self.evaluations)
            row["adjoint_products"] = fmean(self.products)
            row["train_converged"] = fmean(self.converged)
        return row


def train(model: nn.Sequential, training: Training, job: Job) -> Iterator[Row]:
    """Train `model` and yield its rows."""
    config = training.config
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.num_steps)
    marks = _evaluation_steps(training.num_steps, config.num_evaluations)
    tally, seconds, counts = _Tally(), 0.0, []
    row: Row = {}

    def step(x: Tensor, y: Tensor) -> Step:
        optimizer.zero_grad()
        output, solution = forward(model, x)
        loss = training.loss(output, y)
        loss.backward()
        optimizer.step()
        return loss, solution

    for index, (x, y) in enumerate(training.batches(job.seed), start=1):
        if index in marks:  # the counter slows a step down: it stays out of the seconds
            count, taken = flops(partial(step, x, y))
            counts.append(count)
            tally.add(*taken)
        else:
            start = time.perf_counter()
            taken = step(x, y)
            seconds += time.perf_counter() - start
            tally.add(*taken)
        schedule.step()
        if index in marks:
            row = {"step": index, **tally.row(), **evaluate(model, training)}
            tally = _Tally()
            yield {"kind": "step", **row, "flops": counts[-1], "seconds": seconds}
    yield from _trace(model, training.test[0])
    yield {
        "kind": "summary",
        **_described(job),
        **row,
        "flops_per_step": round(fmean(counts)),
        "parameters": num_parameters(model),
        "peak_memory_bytes": peak_memory(partial(step, x, y), [*_held(model, optimizer), x, y]),
        "seconds": seconds,
    }


def evaluate(model: nn.Sequential, training: Training) -> Row:
    """Return the test metrics of a model as it stands."""
    x, y = training.test
    model.eval()
    with torch.no_grad():
        output, solution = forward(model, x)
        row: Row = {"test_loss": training.loss(output, y).item()}
    model.train()
    if training.accuracy is not None:
        row["test_accuracy"] = training.accuracy(output, y)
    if solution is not None:
        relative = relative_residual(solution)
        row["test_evaluations"] = solution.evaluations
        row["residual"] = relative.median().item()
        row["residual_max"] = relative.max().item()
        row["converged"] = solution.converged.double().mean().item()
    return row


def relative_residual(solution: Solution) -> Tensor:
    """Return |f(z) - z| / |z| per sample; a zero state has none, and gives its residual."""
    size = torch.linalg.vector_norm(solution.matrix, dim=1).double()
    return solution.residual / torch.where(size > 0, size, 1.0)


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


def _evaluation_steps(num_steps: int, num_evaluations: int) -> set[int]:
    count = min(num_steps, num_evaluations)
    return {round(num_steps * (i + 1) / count) for i in range(count)}


def _described(job: Job) -> dict[str, Any]:
    return {name: job.settings[name] for name in ("label", "matching")}


def _held(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    yield from model.parameters()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
