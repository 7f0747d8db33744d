"""Tensors that f writes, held still during a solve.

Batch norm updates its running statistics whenever it is called, a spectral norm its vectors, an
observer of quantisation its ranges, vector quantisation its codebook. A solve calls f many times,
and its backward pass again: then the statistics would count one batch as often as the solver
pleases, and where f depends on what it writes, it is another map each time. So every evaluation of
a solve finds these tensors as they were at its start, and one update is made at its end: that of an
evaluation at the solution.

Held are the buffers of modules, their parameters that need no gradient, tensors that are plain
attributes of a module, and small tensors that f holds in another way. What else f can reach is
watched: see `watch`.

An evaluation writes to copies that stand in the place of a module's tensors: a tape keeps what it
wrote, and a tensor that is written behind its back makes the gradient wrong, or the backward pass
an error. A tensor that f holds in another way (the statistics of a functional batch norm) has no
place to put a copy in: it is written, and set back in such a way that autograd notices as much.
"""

import threading
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from deqlab.maps.held import Captured, Held, Owner, Registered, written_ones
from deqlab.maps.reachable import PLUMBING, Reachable, is_of_torch

LARGE = 2**16
"""Numbers of a buffer in eval mode, or a tensor beside modules, that is held; more are a table."""

SMALL = 2**12
"""Numbers of an argument of f that is held, if it has one dimension at most."""


class Buffers:
    """The tensors that f may write: at first all that can be held, then those that it writes.

    Args:
        found: What f can reach.
        args: What f is given.

    Attributes:
        loose: Tensors beside modules that are not held.

    Raises:
        ValueError: A module is lazy, and its buffers are not there yet.
    """

    def __init__(self, found: Reachable, args: Sequence[object] = ()) -> None:
        of_modules = _of_modules(found)
        self.held: list[Held] = list(of_modules.values())
        self.loose: list[Tensor] = []
        given = set(map(id, args))
        for key, tensor in {id(t): t for t in found.tensors}.items():
            if key in of_modules:
                continue
            if _is_held(tensor, is_given=key in given):
                by_value = tensor.ndim <= 1 or found.hides_writes
                self.held.append(Captured(tensor, by_value=by_value))
            else:
                self.loose.append(tensor)
        self.known = False  # whether f writes all of them
        self.point: Tensor | None = None  # of the last evaluation

    def __bool__(self) -> bool:
        return bool(self.held)

    def evaluate(self, z: Tensor, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does at z, with all tensors as they were at the start."""
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
            self.held = written_ones(self.held)
            self.known = True
            for each in self.held:
                each.keep_start()
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
        """Let the tensors have what the last evaluation wrote."""
        for each in self.held:
            each.update()


def _of_modules(found: Reachable) -> dict[int, Registered]:
    """Return the tensors of modules that are held, by their identity."""
    held: dict[int, Registered] = {}
    for module in found.modules:
        is_norm = isinstance(module, _NormBase)
        for name, tensor in _buffers(module):
            if id(tensor) not in held:
                held[id(tensor)] = Registered(tensor, is_buffer=True, sure=is_norm, by_value=True)
            held[id(tensor)].owners.append((module._buffers, name))
        for owner, name, tensor in _others(module):
            if id(tensor) not in held:
                by_value = tensor.ndim <= 1 or found.hides_writes
                held[id(tensor)] = Registered(
                    tensor, is_buffer=False, sure=False, by_value=by_value
                )
            held[id(tensor)].owners.append((owner, name))
    return held


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers that f may write, with their names."""
    if isinstance(module, _NormBase) and not module.training:
        return
    for name, tensor in module._buffers.items():
        if tensor is None:
            continue
        if is_lazy(tensor):
            raise ValueError(
                f"f has a {type(module).__name__} that is not initialised yet; call f once before "
                "the solve"
            )
        if _is_plain(tensor) and (module.training or tensor.numel() <= LARGE):
            yield name, tensor


def _others(module: nn.Module) -> Iterator[tuple[Owner, str, Tensor]]:
    """Yield parameters that need no gradient, and attributes, with where they stand."""
    if not module.training:
        return
    for name, parameter in module._parameters.items():
        if type(parameter) is nn.Parameter and _is_plain(parameter):
            yield module._parameters, name, parameter
    if not is_of_torch(type(module)):
        attributes = vars(module)
        for name, held in attributes.items():
            if type(held) is Tensor and name not in PLUMBING and _is_plain(held):
                yield attributes, name, held


def _is_held(tensor: Tensor, *, is_given: bool) -> bool:
    """Return whether a tensor beside modules is small enough to be copied in every solve."""
    fits = tensor.ndim <= 1 and tensor.numel() <= SMALL if is_given else tensor.numel() <= LARGE
    return fits and _is_plain(tensor) and not tensor.is_inference()


def _is_plain(tensor: Tensor) -> bool:
    plain = not tensor.requires_grad and tensor.layout is torch.strided
    # What a transform of torch.func wraps is watched only.
    return plain and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
