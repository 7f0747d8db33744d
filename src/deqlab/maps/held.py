"""One tensor that a solve holds still: copies in its place, or its numbers set back."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

Owner: TypeAlias = Any
"""The tensors of one module, by name: a dict, or what stands for one in a scripted module."""


class Held(ABC):
    """One tensor that f may write.

    Attributes:
        start: What it is at the start of every evaluation.
        bumped: Whether autograd knows that the last evaluation wrote it.
        by_value: Whether f may write it in a way that autograd does not notice.
        sure: Whether f writes it, whatever the first evaluation shows.
    """

    start: Tensor
    bumped = False
    by_value = True
    sure = False

    def is_written(self) -> bool | Tensor:
        """Return whether the last evaluation wrote it; a tensor (), if a device has to be asked."""
        if self.sure or self.bumped:
            return True
        # The kernels of batch norm, and writes through .data, leave the version as it was.
        written = self.written()
        if written is None or not self.by_value:
            return written is None
        if written.is_cpu or written.shape != self.start.shape:
            return not torch.equal(written, self.start)
        return (written != self.start).any()

    def keep_start(self) -> None:
        """Keep what it was at the start: what stands there may change before backward."""
        self.start = self.start.clone()

    @abstractmethod
    def enter(self) -> None:
        """Make it what it was at the start."""

    @abstractmethod
    def note(self) -> None:
        """Take what an evaluation has made of it."""

    @abstractmethod
    def leave(self) -> None:
        """Make it what it was before `enter`."""

    @abstractmethod
    def update(self) -> None:
        """Make it what the last evaluation has made of it."""

    @abstractmethod
    def present(self) -> Tensor | None:
        """Return what it is now."""

    @abstractmethod
    def written(self) -> Tensor | None:
        """Return what the last evaluation made of it."""


def written_ones(held: Sequence[Held]) -> list[Held]:
    """Return those that the last evaluation wrote, by one wait for a device."""
    told = [each.is_written() for each in held]
    asked = [each for each in told if isinstance(each, Tensor)]
    answers = iter(torch.stack(asked).cpu() if asked else ())
    written = [bool(next(answers) if isinstance(each, Tensor) else each) for each in told]
    return [each for each, is_written in zip(held, written, strict=True) if is_written]


class Registered(Held):
    """A tensor that modules have by a name: a buffer, a parameter, or another attribute."""

    def __init__(self, tensor: Tensor, *, is_buffer: bool, sure: bool, by_value: bool) -> None:
        self.owners: list[tuple[Owner, str]] = []
        self.is_buffer = is_buffer
        self.start, self.sure, self.by_value = tensor, sure, by_value
        self.is_parameter = isinstance(tensor, nn.Parameter)
        self.is_trained = tensor.requires_grad  # then it is replaced at most: no copy stands for it
        self.copy = tensor  # what an evaluation may write to
        self.left: Tensor | None = None  # what it left in its place
        self.before: list[Tensor | None] = []

    @override
    def enter(self) -> None:
        self.before = [_at(owner, name) for owner, name in self.owners]
        if not self.is_trained:
            copy = self.start.clone()
            self.copy = nn.Parameter(copy, requires_grad=False) if self.is_parameter else copy
        self.version = version(self.copy)
        for owner, name in self.owners:
            owner[name] = self.copy

    @override
    def note(self) -> None:
        self.left = self.present()
        self.bumped = self.left is not self.copy or self.version != version(self.copy)

    @override
    def leave(self) -> None:
        for (owner, name), tensor in zip(self.owners, self.before, strict=True):
            owner[name] = tensor

    @override
    def update(self) -> None:
        target = self.present()
        if self.left is self.copy and target is not None:
            _write(target, self.copy, silently=not self.bumped)
            return
        for owner, name in self.owners:
            # A state that goes from step to step keeps no graph; what f leaves for others does.
            owner[name] = self.left
            if self.is_buffer and self.left is not None:
                owner[name] = self.left.detach()

    @override
    def keep_start(self) -> None:
        if not self.is_trained:
            super().keep_start()

    @override
    def present(self) -> Tensor | None:
        return _at(*self.owners[0])

    @override
    def written(self) -> Tensor | None:
        return self.left


class Captured(Held):
    """A tensor that f holds in another way: written in place."""

    def __init__(self, tensor: Tensor, *, by_value: bool = True) -> None:
        self.tensor, self.left = tensor, tensor
        self.start = tensor.clone()
        self.before, self.by_value = self.start, by_value
        self.is_new = True

    @override
    def enter(self) -> None:
        # At first it is what it was a moment ago, unless another thread has written it since.
        if not self.is_new or threading.active_count() > 1:
            self.before = self.tensor.clone()
            if not torch.equal(self.before, self.start):
                _write(self.tensor, self.start, silently=True)
        self.version = version(self.tensor)

    @override
    def note(self) -> None:
        self.bumped = self.version != version(self.tensor)
        may_be_written = self.bumped or self.by_value
        self.left = self.tensor.clone() if may_be_written else self.start
        self.is_new = False

    @override
    def leave(self) -> None:
        if self.left is self.start is self.before:
            return  # not written
        if not torch.equal(self.tensor, self.before):
            silently = self.version == version(self.tensor)
            _write(self.tensor, self.before, silently=silently)

    @override
    def update(self) -> None:
        _write(self.tensor, self.left, silently=not self.bumped)

    @override
    def present(self) -> Tensor:
        return self.tensor

    @override
    def written(self) -> Tensor:
        return self.left


def _at(owner: Owner, name: str) -> Tensor | None:
    found: Tensor | None = owner[name] if name in owner else None  # noqa: SIM401, no `get`
    return found


@torch.no_grad()
def _write(target: Tensor, value: Tensor, *, silently: bool) -> None:
    """Copy a value in such a way that autograd notices it as it noticed that of f."""
    if target.shape != value.shape:
        target.resize_(value.shape)
    (target.data if silently else target).copy_(value)


def version(tensor: Tensor) -> int | None:
    """Return the number of writes that autograd knows of, None where it counts none."""
    return None if tensor.is_inference() else tensor._version
