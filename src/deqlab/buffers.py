"""Buffers that f writes, held still during a solve.

Batch norm updates its running statistics whenever it is called, a spectral norm its vectors, an
observer of quantisation its ranges. A solve calls f many times, and its backward pass again: then
the statistics would count one batch as often as the solver pleases, and where f depends on what it
writes, it is another map each time. So every evaluation of a solve finds the buffers as they were
at its start, and one update is made at its end: that of an evaluation at the solution.

An evaluation writes to copies that stand in the place of a module's buffers: a tape keeps what it
wrote, and a tensor that is written behind its back makes the gradient wrong, or the backward pass
an error. A tensor that f holds in another way (the statistics of a functional batch norm) has no
place to put a copy in: it is written, and set back in such a way that autograd notices as much.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy
from typing_extensions import override

LARGE = 2**16
"""Numbers of a buffer that is looked at in eval mode too; a larger one is taken for a table."""

SMALL = 2**12
"""Numbers of a tensor beside modules that is looked at, if it has one dimension at most."""

Owner: TypeAlias = Any
"""The buffers of one module, by name: a dict, or what stands for one in a scripted module."""


class Buffers:
    """The buffers behind f: at first all of them, then those that f writes.

    Raises:
        ValueError: A module is lazy, and its buffers are not there yet.
    """

    def __init__(self, modules: Sequence[nn.Module], tensors: Sequence[Tensor] = ()) -> None:
        of_modules = _of_modules(modules)
        beside = {id(t): t for t in tensors if id(t) not in of_modules and _is_small(t)}
        self.held: list[_Held] = [*of_modules.values(), *map(_Captured, beside.values())]
        self.known = False  # whether f writes all of them
        self.point: Tensor | None = None  # of the last evaluation

    def __bool__(self) -> bool:
        return bool(self.held)

    def evaluate(self, z: Tensor, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does at z, with all buffers as they were at the start."""
        for each in self.held:
            each.enter()
        try:
            fz = evaluate()
            for each in self.held:
                each.note()
        finally:
            for each in self.held:
                each.leave()
        self.point = z.detach()
        if not self.known:
            self.held = [each for each in self.held if each.is_written]
            self.known = True
            for each in self.held:
                each.start = each.start.clone()  # what stands there may change before backward
        return fz

    def were_written_at(self, z: Tensor) -> bool:
        """Return whether the last evaluation tells what one at z writes now."""
        if self.point is None or not torch.equal(self.point, z):
            return False
        if threading.active_count() == 1:
            return True
        # Another thread may have updated them since.
        present = [(each.present(), each.start) for each in self.held]
        return all(now is not None and torch.equal(now, start) for now, start in present)

    def update(self) -> None:
        """Let the buffers have what the last evaluation wrote."""
        for each in self.held:
            each.update()


class _Held(ABC):
    """One buffer.

    Attributes:
        start: What it is at the start of every evaluation.
        bumped: Whether autograd knows that the last evaluation wrote it.
        sure: Whether f writes it, whatever the first evaluation shows.
    """

    start: Tensor
    bumped = False
    sure = False

    @property
    def is_written(self) -> bool:
        """Whether the last evaluation wrote it."""
        # By value as well: the kernels of batch norm, and writes through .data, leave the version.
        written = self.written()
        return self.sure or self.bumped or written is None or not torch.equal(written, self.start)

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


class _Registered(_Held):
    """A buffer of a module, or of several that share it."""

    def __init__(self, tensor: Tensor, *, sure: bool) -> None:
        self.owners: list[tuple[Owner, str]] = []
        self.start, self.sure = tensor, sure
        self.copy = tensor  # what an evaluation may write to
        self.left: Tensor | None = None  # what it left in its place
        self.before: list[Tensor | None] = []

    @override
    def enter(self) -> None:
        self.before = [_at(owner, name) for owner, name in self.owners]
        self.copy = self.start.clone()
        self.version = _version(self.copy)
        for owner, name in self.owners:
            owner[name] = self.copy

    @override
    def note(self) -> None:
        self.left = self.present()
        self.bumped = self.left is not self.copy or self.version != _version(self.copy)

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
            owner[name] = None if self.left is None else self.left.detach()

    @override
    def present(self) -> Tensor | None:
        return _at(*self.owners[0])

    @override
    def written(self) -> Tensor | None:
        return self.left


class _Captured(_Held):
    """A tensor that f holds beside modules: written in place."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.left = tensor, tensor
        self.start = tensor.clone()
        self.before = self.start

    @override
    def enter(self) -> None:
        self.before = self.tensor.clone()
        if not torch.equal(self.before, self.start):
            _write(self.tensor, self.start, silently=True)
        self.version = _version(self.tensor)

    @override
    def note(self) -> None:
        self.left = self.tensor.clone()
        self.bumped = self.version != _version(self.tensor)

    @override
    def leave(self) -> None:
        if not torch.equal(self.tensor, self.before):
            silently = self.version == _version(self.tensor)
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


def _of_modules(modules: Iterable[nn.Module]) -> dict[int, _Registered]:
    """Return the buffers of modules, by the identity of their tensors."""
    found: dict[int, _Registered] = {}
    for module in modules:
        is_norm = isinstance(module, _NormBase)
        if is_norm and not module.training:
            continue
        for name, tensor in _buffers(module):
            held = found.setdefault(id(tensor), _Registered(tensor, sure=is_norm))
            held.owners.append((module._buffers, name))
    return found


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers that f may write, with their names."""
    for name, tensor in module._buffers.items():
        if tensor is None:
            continue
        if is_lazy(tensor):
            raise ValueError(
                f"f has a {type(module).__name__} that is not initialised yet; call f once before "
                "the solve"
            )
        plain = not tensor.requires_grad and tensor.layout is torch.strided
        if plain and (module.training or tensor.numel() <= LARGE):
            yield name, tensor


def _is_small(tensor: Tensor) -> bool:
    plain = tensor.ndim <= 1 and tensor.numel() <= SMALL and not tensor.requires_grad
    return plain and tensor.layout is torch.strided and not tensor.is_inference()


def _at(owner: Owner, name: str) -> Tensor | None:
    found: Tensor | None = owner[name] if name in owner else None  # noqa: SIM401, no `get`
    return found


@torch.no_grad()
def _write(target: Tensor, value: Tensor, *, silently: bool) -> None:
    """Copy a value in such a way that autograd notices it as it noticed that of f."""
    if target.shape != value.shape:
        target.resize_(value.shape)
    (target.data if silently else target).copy_(value)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version
