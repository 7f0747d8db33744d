"""The loop that every network is trained with: batches, a loss, an optimiser and a schedule.

The loop knows nothing of networks and data. It is an iterator over the steps that it takes, so
that whoever runs it decides in plain Python what to log, when to test, and when to stop.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from deqlab.arguments import check_count, check_function, check_kind
from deqlab.costs import flops

BatchT = TypeVar("BatchT")
"""What a loss takes: a pair of inputs and targets, or anything else."""

NotesT = TypeVar("NotesT")
"""What a loss tells of a step beside its value: the solution of a DEQ, or None."""


@dataclass(frozen=True)
class Step(Generic[NotesT]):
    """One step that was taken.

    Attributes:
        index: Its number, counted from 1 over the whole run.
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
        optimizer: The optimiser, which holds the parameters. `torch.optim.LBFGS` evaluates the loss
            of a batch as often in a step as it asks for.
        schedule: The schedule of its learning rate, which goes on after each step; or None.
        clip: The largest norm of the gradient of all parameters together; None is any.
        accumulate: Over how many batches the loss of a step is the mean, at least 1.
        autocast: The dtype that the loss is computed in where torch finds that safe, such as
            torch.bfloat16; None is that of the parameters. States and what solvers and their
            adjoints keep stay in the dtype of z0.

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
    clip: float | None = None
    accumulate: int = 1
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_function("loss", self.loss, example="lambda batch: model(batch).square().mean()")
        example = "torch.optim.Adam(model.parameters())"
        check_kind("optimizer", self.optimizer, Optimizer, example=example)
        check_count("accumulate", self.accumulate)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be more than 0, got {self.clip}")

    @property
    def parts(self) -> dict[str, Optimizer | LRScheduler]:
        """What a checkpoint keeps of the loop, by name."""
        schedule = {} if self.schedule is None else {"schedule": self.schedule}
        return {"optimizer": self.optimizer, **schedule}

    def run(
        self,
        batches: Iterable[BatchT],
        *,
        stop_at: float | None = None,
        count_flops: Container[int] = (),
        taken: int = 0,
    ) -> Iterator[Step[NotesT]]:
        """Take a step on each batch, or on each `accumulate` of them, and yield it.

        Args:
            batches: The batches in order; none is asked for before the step before it is taken.
                Too few at the end for a whole step are left out.
            stop_at: The loss at which training ends: a batch whose loss is no larger is the last,
                and no step is taken on it. None never ends it.
            count_flops: The numbers of steps whose floating-point operations are counted.
            taken: How many steps were taken before, in a run that goes on.
        """
        for index, batch in enumerate(self._grouped(batches), start=taken + 1):
            counted, start = None, time.perf_counter()
            if index in count_flops:
                counted, found = flops(partial(self._step, batch, stop_at))
            else:
                found = self._step(batch, stop_at)
            if found is None:
                return
            seconds = time.perf_counter() - start if counted is None else 0.0
            loss, notes = found
            yield Step(index, loss, notes, seconds, counted)

    def step(self, batch: BatchT, *, stop_at: float | None = None) -> tuple[Tensor, NotesT] | None:
        """Take one step on one batch.

        Returns:
            The loss and the notes, or None if the loss was small enough.
        """
        return self._step([batch], stop_at)

    def _step(
        self, batches: Sequence[BatchT], stop_at: float | None
    ) -> tuple[Tensor, NotesT] | None:
        found = self._differentiated(batches, stop_at)
        if found is None:
            return None
        if isinstance(self.optimizer, LBFGS):
            known = [found]

            def closure() -> Tensor:
                again = known.pop() if known else self._differentiated(batches)
                assert again is not None
                return again[0]

            self.optimizer.step(closure)
        else:
            self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return found

    def _differentiated(
        self, batches: Sequence[BatchT], stop_at: float | None = None
    ) -> tuple[Tensor, NotesT] | None:
        """Return the loss, whose gradient the parameters then have, and the notes."""
        self.optimizer.zero_grad()
        losses = []
        for batch in batches:
            with self._precision():
                loss, notes = self.loss(batch)
            if not isinstance(loss, Tensor):
                raise TypeError(f"loss must return a tensor, got {loss!r}")
            if stop_at is not None and loss.item() <= stop_at:
                return None
            (loss / len(batches) if len(batches) > 1 else loss).backward()
            losses.append(loss.detach())
        if self.clip is not None:
            clip_grad_norm_(self._parameters(), self.clip)
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean(), notes

    def _grouped(self, batches: Iterable[BatchT]) -> Iterator[list[BatchT]]:
        stream = iter(batches)
        while len(group := list(islice(stream, self.accumulate))) == self.accumulate:
            yield group

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _precision(self) -> AbstractContextManager[object]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self._parameters()[0].device.type, dtype=self.autocast)
