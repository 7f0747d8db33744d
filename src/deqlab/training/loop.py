"""The loop that every network is trained with: batches, a loss, an optimiser and a schedule.

The loop knows nothing of networks and data. It is an iterator over the steps that it takes, so
that whoever runs it decides in plain Python what to log, when to test, and when to stop.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deqlab.costs import flops

BatchT = TypeVar("BatchT")
"""What a loss takes: a pair of inputs and targets, or anything else."""

NotesT = TypeVar("NotesT")
"""What a loss tells of a step beside its value: the solution of a DEQ, or None."""


@dataclass(frozen=True)
class Step(Generic[NotesT]):
    """One step that was taken.

    Attributes:
        index: Its number, counted from 1.
        loss: The loss before the step, (), without a tape.
        notes: What the loss told beside its value.
        seconds: The wall time of the step; 0 where its FLOPs were counted, which slows it down.
        flops: Its floating-point operations, where they were counted.
    """

    index: int
    loss: Tensor
    notes: NotesT
    seconds: float
    flops: int | None = None


@dataclass(kw_only=True)
class Loop(Generic[BatchT, NotesT]):
    """Steps of an optimiser on batches.

    Attributes:
        loss: Returns the loss of a batch, (), and what else is to be known of the step.
        optimizer: The optimiser, which holds the parameters.
        schedule: The schedule of its learning rate, which goes on after each step; or None.

    Example:
        >>> import torch
        >>> w = torch.ones(1, requires_grad=True)
        >>> loop = Loop(loss=lambda x: ((w * x).sum() ** 2, None),
        ...     optimizer=torch.optim.SGD([w], lr=0.25))
        >>> [step.loss.item() for step in loop.run([torch.ones(1)] * 3)]
        [1.0, 0.25, 0.0625]
    """

    loss: Callable[[BatchT], tuple[Tensor, NotesT]]
    optimizer: Optimizer
    schedule: LRScheduler | None = None

    def run(
        self,
        batches: Iterable[BatchT],
        *,
        stop_at: float | None = None,
        count_flops: Container[int] = (),
    ) -> Iterator[Step[NotesT]]:
        """Take a step on each batch, and yield it.

        Args:
            batches: One batch a step, in order; none is asked for before the step before it is
                taken.
            stop_at: The loss at which training ends: a batch whose loss is no larger is the last,
                and no step is taken on it. None never ends it.
            count_flops: The numbers of steps whose floating-point operations are counted.
        """
        for index, batch in enumerate(batches, start=1):
            counted, start = None, time.perf_counter()
            if index in count_flops:
                counted, taken = flops(partial(self.step, batch, stop_at=stop_at))
            else:
                taken = self.step(batch, stop_at=stop_at)
            if taken is None:
                return
            seconds = time.perf_counter() - start if counted is None else 0.0
            loss, notes = taken
            yield Step(index, loss, notes, seconds, counted)

    def step(self, batch: BatchT, *, stop_at: float | None = None) -> tuple[Tensor, NotesT] | None:
        """Take one step; return the loss and the notes, or None if the loss was small enough."""
        self.optimizer.zero_grad()
        loss, notes = self.loss(batch)
        if stop_at is not None and loss.item() <= stop_at:
            return None
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss.detach(), notes
