"""The random numbers of f, held: every evaluation of a solve draws those of the first again.

The generators are set back before an evaluation, and put where they were after it, whatever
happens. They are shared by all threads: another one that draws meanwhile takes numbers that were
for this evaluation. So solves take turns, and an evaluation counts only if the generators end where
they ended before; otherwise it is made once more.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from deqlab.maps.fair_lock import LOCK, alone

TRIES = 100
"""Evaluations that other threads may spoil before it is an error."""


class RandomNumbers:
    """The generators that f may draw from, and those that it does.

    Attributes:
        drawn: Generators that f draws from, with their state at the first evaluation.
        ends: Their states after it.
    """

    def __init__(self, device: torch.device, own: Sequence[torch.Generator]) -> None:
        self.generators = [*_of_torch(device), *own]
        self.drawn: list[tuple[torch.Generator, Tensor]] = []
        self.ends: list[Tensor] = []

    def __bool__(self) -> bool:
        return bool(self.drawn)

    def first(self, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does, and note what it draws from.

        Raises:
            RuntimeError: Other threads draw from the same generators all the time.
        """
        before, turns = self._states(), LOCK.of_others()
        fz = evaluate()
        moved = self._note(before)
        if threading.active_count() == 1:
            return fz
        # Perhaps with numbers that another thread had set back, or took away. Most maps draw
        # nothing, and need not wait for each other.
        shared = moved or turns != (False, LOCK.of_others()[1])
        if shared and not self._is_confirmed(evaluate) and self.drawn:
            fz = self.again(evaluate)
        return fz

    def _is_confirmed(self, evaluate: Callable[[], Tensor]) -> bool:
        """Note once more what `evaluate` draws, alone; return whether it is the same."""
        drawn, ends = self.drawn, self.ends
        with alone(), Draws() as draws, torch.no_grad():
            present = [generator.get_state() for generator, _ in drawn]
            try:
                for (generator, start), end in zip(drawn, ends, strict=True):
                    if _same(generator.get_state(), end):  # nobody has moved it since
                        generator.set_state(start)
                before = self._states()
                evaluate()
                self._note(before)
            except BaseException:
                self._restore(drawn, present)
                raise
            if not draws.found:  # it was another thread that drew
                self._restore(drawn, present)
                self.drawn, self.ends = [], []
        starts = [start for _, start in drawn], [start for _, start in self.drawn]
        return len(drawn) == len(self.drawn) and all(
            map(_same, [*starts[0], *ends], [*starts[1], *self.ends])
        )

    @staticmethod
    def _restore(drawn: Sequence[tuple[torch.Generator, Tensor]], states: Sequence[Tensor]) -> None:
        for (generator, _), state in zip(drawn, states, strict=True):
            generator.set_state(state)

    def again(self, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does with the random numbers of the first evaluation.

        Raises:
            RuntimeError: Other threads draw from the same generators all the time.
        """
        with alone():
            present = [generator.get_state() for generator, _ in self.drawn]
            try:
                return self._undisturbed(evaluate)
            finally:
                for (generator, _), state in zip(self.drawn, present, strict=True):
                    generator.set_state(state)

    def _undisturbed(self, evaluate: Callable[[], Tensor]) -> Tensor:
        known = None
        for _ in range(TRIES):
            for generator, state in self.drawn:
                generator.set_state(state)
            fz = evaluate()
            if threading.active_count() == 1:
                return fz
            ends = [generator.get_state() for generator, _ in self.drawn]
            if all(map(_same, ends, self.ends)):
                return fz
            # Two in a row that agree: it is the first evaluation that was disturbed.
            if known is not None and all(map(_same, ends, known[0])) and _agree(fz, known[1]):
                self.ends = ends
                return fz
            known = ends, fz
        raise RuntimeError(
            f"fixed_point: f draws random numbers, and in each of {TRIES} evaluations another "
            "thread drew from the same generator, so that f was never the same map; let the "
            "threads draw one after the other, or give f a torch.Generator of its own"
        )

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def _note(self, before: Sequence[Tensor]) -> bool:
        """Enter which generators were moved; return whether any was."""
        ends = self._states()
        moved = [i for i, end in enumerate(ends) if not _same(before[i], end)]
        self.drawn = [(self.generators[i], before[i]) for i in moved]
        self.ends = [ends[i] for i in moved]
        return bool(moved)


class Draws(TorchDispatchMode):
    """Notices operators of this thread that draw from a generator."""

    found = False

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.found = self.found or _draws(func, args, kwargs)
        return func(*args, **kwargs)


def _draws(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:  # noqa: ANN401
    """Return whether this call of an operator draws from a generator.

    torch marks fused attention as one that may: it draws only where it drops weights.
    """
    if torch.Tag.nondeterministic_seeded not in operator.tags:
        return False
    for place, argument in enumerate(operator._schema.arguments):
        if argument.name == "dropout_p":
            default = kwargs.get("dropout_p", argument.default_value)
            return bool(args[place] if place < len(args) else default)
    return True


def _agree(fz: Tensor, other: Tensor) -> bool:
    """Return whether two values are the same, to the rounding of kernels that add in any order."""
    size = 100 * torch.finfo(fz.dtype).eps
    fz, other = fz.detach(), other.detach()
    scale = float(other.abs().nan_to_num(0.0, 0.0, 0.0).max()) if other.numel() else 0.0
    return torch.allclose(fz, other, rtol=0.0, atol=size * scale, equal_nan=True)


def _same(state: Tensor, other: Tensor) -> bool:
    # Twice as fast as torch.equal.
    return state.numpy().tobytes() == other.numpy().tobytes()


def _of_torch(device: torch.device) -> list[torch.Generator]:
    """Return torch's own generators: of the host, of every CUDA device in use, and of `device`."""
    found = [torch.default_generator, *torch.cuda.default_generators]
    if device.type == "mps":
        found.append(torch.mps._get_default_mps_generator())
    elif device.type not in ("cpu", "cuda"):
        found.extend(getattr(torch.get_device_module(device), "default_generators", ()))
    return found
