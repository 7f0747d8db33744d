"""Batches in an order that can go on at any step.

Each kind is an iterator's source with a position: it yields from where it is, and its state says
where that is. To go on at step k nothing is loaded that training has seen already.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor
from typing_extensions import override

BatchT = TypeVar("BatchT")
"""What a batch is: a pair of inputs and targets, or anything else."""


class Batches(ABC, Generic[BatchT]):
    """Batches in order, of which `taken` have been taken.

    Attributes:
        taken: How many batches were taken, over all epochs. The one that is yielded counts.
    """

    taken: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[BatchT]:
        """Yield the batches that come after those that were taken."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the batches are."""
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.taken = state["taken"]


class Shuffled(Batches[BatchT]):
    """Batches of samples in a new random order each epoch; the last, smaller one is left out.

    To go on within an epoch costs one permutation of its indices.

    Args:
        num_samples: How many samples there are, at least 1.
        batch_size: How many make a batch, at least 1; all of them, if there are fewer.
        epochs: Passes over the samples.
        generator: Draws the orders. It may draw other things between batches as well.
        take: Loads the samples of these indices.

    Example:
        >>> batches = Shuffled(5, 2, epochs=2, generator=torch.Generator(), take=len)
        >>> list(batches)
        [2, 2, 2, 2]
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        epochs: int,
        generator: torch.Generator,
        take: Callable[[Int64[Tensor, " B"]], BatchT],
    ) -> None:
        for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.num_samples, self.batch_size, self.epochs = num_samples, batch_size, epochs
        self.generator, self.take = generator, take
        self.per_epoch = max(1, num_samples // batch_size)
        self._start = generator.get_state()  # at the start of the epoch

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    @override
    def __iter__(self) -> Iterator[BatchT]:
        parts = self._order(self._start)  # of an epoch that goes on; another one draws its own
        while self.taken < len(self):
            if self.taken % self.per_epoch == 0:
                self._start = self.generator.get_state()
                parts = self._order(self._start, self.generator)
            part = parts[self.taken % self.per_epoch]
            self.taken += 1
            yield self.take(part)

    def _order(
        self, start: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Int64[Tensor, " B"], ...]:
        """Return the indices of each batch of the epoch that starts from a generator's state."""
        if generator is None:
            generator = torch.Generator(self.generator.device)
            generator.set_state(start)
        order: Tensor = torch.randperm(self.num_samples, generator=generator)
        return tuple(order.split(self.batch_size))

    @override
    def state_dict(self) -> dict[str, Any]:
        now = self.generator.get_state()
        return {**super().state_dict(), "start": self._start, "generator": now}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._start = state["start"]
        self.generator.set_state(state["generator"])


class Drawn(Batches[BatchT]):
    """Batches that are drawn afresh, each from what the generator is then.

    Args:
        steps: How many there are.
        generator: Draws them.
        draw: Returns the next one.
    """

    def __init__(
        self, steps: int, generator: torch.Generator, draw: Callable[[torch.Generator], BatchT]
    ) -> None:
        self.steps, self.generator, self.draw = steps, generator, draw

    def __len__(self) -> int:
        return self.steps

    @override
    def __iter__(self) -> Iterator[BatchT]:
        while self.taken < self.steps:
            self.taken += 1
            yield self.draw(self.generator)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self.generator.get_state()}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.generator.set_state(state["generator"])


class Replayed(Batches[BatchT]):
    """Batches of any iterable that is the same each time: what was taken is taken again.

    It is for a loader that has no position. Going on costs as much as loading what came before.

    Args:
        batches: The iterable; it starts anew with each `iter`, in the same order.
    """

    def __init__(self, batches: Iterable[BatchT]) -> None:
        self.batches = batches

    @override
    def __iter__(self) -> Iterator[BatchT]:
        for index, batch in enumerate(self.batches):
            if index >= self.taken:
                self.taken += 1
                yield batch
