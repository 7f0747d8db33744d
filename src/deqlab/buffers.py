"""Buffers that f writes, held still during a solve.

Batch norm updates its running statistics whenever it is called, a spectral norm its vectors, an
observer of quantisation its ranges. A solve calls f many times, and its backward pass again: then
the statistics would count one batch as often as the solver pleases, and where f depends on what it
writes, it is another map each time. So every evaluation of a solve writes to copies of the buffers
as they were at its start, and one update is made at its end: that of an evaluation at the solution.

Copies, not originals that are restored: a tape keeps what an evaluation wrote, and a tensor that is
written behind its back makes the gradient wrong, or the backward pass an error.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

LARGE = 2**16
"""Numbers of a buffer that is looked at in eval mode too; a larger one is taken for a table."""

Owner: TypeAlias = dict[str, Tensor | None]
"""The buffers of one module, by name."""


@dataclass
class _Held:
    """One buffer: where it is found, and what it is at the start of every evaluation."""

    owners: list[tuple[Owner, str]]  # several, if modules share it
    start: Tensor
    sure: bool  # that f writes it
    copy: Tensor  # what an evaluation may write to
    version: int | None = None  # of the copy, when it was made
    left: Tensor | None = None  # what the last evaluation left in its place

    @property
    def is_bumped(self) -> bool:
        """Whether autograd knows that the copy was written, or another tensor put there."""
        return self.left is not self.copy or self.version != _version(self.copy)


class Buffers:
    """The buffers of the modules behind f: at first all of them, then those that f writes."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.held = _find(modules)
        self.known = False  # whether f writes all of them
        self.point: Tensor | None = None  # of the last evaluation

    def __bool__(self) -> bool:
        return bool(self.held)

    def evaluate(self, z: Tensor, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does at z, with copies in the place of the buffers."""
        present = [[owner.get(name) for owner, name in each.owners] for each in self.held]
        for each in self.held:
            each.copy = each.start.clone()
            each.version = _version(each.copy)
            for owner, name in each.owners:
                owner[name] = each.copy
        try:
            fz = evaluate()
            for each in self.held:
                owner, name = each.owners[0]
                each.left = owner.get(name)
        finally:
            for each, tensors in zip(self.held, present, strict=True):
                for (owner, name), tensor in zip(each.owners, tensors, strict=True):
                    owner[name] = tensor
        self.point = z.detach()
        if not self.known:
            self.held = [each for each in self.held if _is_written(each)]
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
        present = [(each.owners[0][0].get(each.owners[0][1]), each.start) for each in self.held]
        return all(now is not None and torch.equal(now, start) for now, start in present)

    def update(self) -> None:
        """Let the modules have what the last evaluation wrote."""
        for each in self.held:
            for owner, name in each.owners:
                target = owner.get(name)
                if each.left is not each.copy or target is None:
                    owner[name] = None if each.left is None else each.left.detach()
                else:
                    _write(target, each.copy, silently=not each.is_bumped)
                    break  # all owners have the same tensor


def _find(modules: Sequence[nn.Module]) -> list[_Held]:
    found: dict[int, _Held] = {}
    for module in modules:
        buffers: Owner = module._buffers
        if not buffers:
            continue
        is_norm = isinstance(module, _NormBase)
        if is_norm and not module.training:
            continue
        for name, tensor in buffers.items():
            if tensor is None or not _can_be_held(tensor, module.training):
                continue
            held = found.setdefault(id(tensor), _Held([], tensor, is_norm, tensor))
            held.owners.append((buffers, name))
    return list(found.values())


def _can_be_held(tensor: Tensor, training: bool) -> bool:
    if is_lazy(tensor) or tensor.requires_grad or tensor.layout is not torch.strided:
        return False
    return training or tensor.numel() <= LARGE


def _is_written(held: _Held) -> bool:
    # By value as well: the kernels of batch norm, and writes through .data, leave the version.
    return held.sure or held.is_bumped or not torch.equal(held.copy, held.start)


@torch.no_grad()
def _write(target: Tensor, value: Tensor, *, silently: bool) -> None:
    """Copy a value in such a way that autograd notices it as it noticed that of f."""
    if target.shape != value.shape:
        target.resize_(value.shape)
    (target.data if silently else target).copy_(value)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version
