"""The random numbers of f, held: every evaluation of a solve draws those of the first again.

The generators are set back before an evaluation, and put where they were after it, whatever
happens. They are shared by all threads: another one that draws meanwhile takes numbers that were
for this evaluation. So solves take turns, and an evaluation counts only if the generators end where
they ended before; otherwise it is made once more.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from deqlab.maps.fair_lock import LOCK, alone
from deqlab.maps.random_streams import is_at_or_before

TRIES = 100
"""Evaluations that other threads may spoil before it is an error."""

AGREEING = 3
"""Evaluations that end in one place, before it is taken for that of an undisturbed one. Two may
well be disturbed alike: another thread gets to draw wherever an operator lets it."""


class RandomNumbers:
    """The generators that f may draw from, and those that it does.

    Attributes:
        drawn: Generators that f draws from, with their state at the first evaluation.
        ends: Their states after it, as far as is known: the earliest of all evaluations.
        agreeing: Evaluations that ended there.
    """

    def __init__(self, device: torch.device, own: Sequence[torch.Generator]) -> None:
        self.generators = [*_of_torch(device), *own]
        self.drawn: list[tuple[torch.Generator, Tensor]] = []
        self.ends: list[Tensor] = []
        self.agreeing = 0

    def __bool__(self) -> bool:
        return bool(self.drawn)

    def first(self, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does, and note what it draws from.

        Raises:
            RuntimeError: Other threads draw from the same generators all the time.
        """
        turns, before = LOCK.of_others(), self._states()
        fz = evaluate()
        moved = self._note(before)
        if threading.active_count() == 1:
            return fz
        # Perhaps with numbers that another thread had set back, or took away. Most maps draw
        # nothing, and need not wait for each other.
        if moved or turns != (False, LOCK.of_others()[1]):
            confirmed = self._is_confirmed(evaluate, turns)
            if self.drawn and not confirmed:
                fz = self.again(evaluate)
        return fz

    def _is_confirmed(self, evaluate: Callable[[], Tensor], turns: tuple[bool, int]) -> bool:
        """Note once more what `evaluate` draws, alone; return whether it is the same.

        Args:
            evaluate: Evaluates f.
            turns: Those that others had before the first evaluation. If one has had another
                since, the numbers of the first may be those of its solve, and are left to it.
        """
        drawn, ends = self.drawn, self.ends
        with alone(), Draws() as draws, torch.no_grad():
            present = [generator.get_state() for generator, _ in drawn]
            undisturbed = turns == (False, LOCK.of_others()[1])
            try:
                for (generator, start), end in zip(drawn, ends, strict=True):
                    if undisturbed and _same(generator.get_state(), end):
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
        confirmed = undisturbed and _are_same(*starts) and _are_same(ends, self.ends)
        self.agreeing += confirmed
        return confirmed

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
        for _ in range(TRIES):
            for generator, state in self.drawn:
                generator.set_state(state)
            fz = evaluate()
            if threading.active_count() == 1:
                return fz
            if self._is_undisturbed():
                return fz
            time.sleep(0)  # who waits to draw does so now, and not at the same place once more
        raise RuntimeError(
            f"fixed_point: f draws random numbers, and in each of {TRIES} evaluations another "
            "thread drew from the same generator, so that f was never the same map; let the "
            "threads draw one after the other, or give f a torch.Generator of its own"
        )

    def _is_undisturbed(self) -> bool:
        """Return whether the generators are now where an evaluation alone leaves them."""
        ends = [generator.get_state() for generator, _ in self.drawn]
        if _are_same(ends, self.ends):
            self.agreeing += 1
        elif self._are_before(ends):
            self.ends, self.agreeing = ends, 1
        else:
            return False
        return self.agreeing >= AGREEING

    def _are_before(self, ends: Sequence[Tensor]) -> bool:
        with _outside_of_transforms():
            pairs = zip(self.drawn, ends, self.ends, strict=True)
            return all(is_at_or_before(drawn[0], *states) for drawn, *states in pairs)

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def _note(self, before: Sequence[Tensor]) -> bool:
        """Enter which generators were moved; return whether any was."""
        ends = self._states()
        moved = [i for i, end in enumerate(ends) if not _same(before[i], end)]
        self.drawn = [(self.generators[i], before[i]) for i in moved]
        self.ends = [ends[i] for i in moved]
        self.agreeing = 1
        return bool(moved)


class Draws(TorchDispatchMode):
    """Notices operators of this thread that draw from a generator."""

    found = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing of it is compiled, and to say so imports torch._dynamo: seconds, with the turn.
        return False

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


def _are_same(states: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(states) == len(others) and all(map(_same, states, others))


def _same(state: Tensor, other: Tensor) -> bool:
    # Twice as fast as torch.equal.
    with _outside_of_transforms():
        return state.numpy().tobytes() == other.numpy().tobytes()


def _outside_of_transforms() -> AbstractContextManager[object]:
    """Let tensors be what they are, and not what a transform of torch.func makes of them."""
    if _functorch.peek_interpreter_stack() is None:
        return nullcontext()
    return temporarily_clear_interpreter_stack()


def _of_torch(device: torch.device) -> list[torch.Generator]:
    """Return torch's own generators: of the host, of every CUDA device in use, and of `device`."""
    found = [torch.default_generator, *torch.cuda.default_generators]
    if device.type == "mps":
        found.append(torch.mps._get_default_mps_generator())
    elif device.type not in ("cpu", "cuda"):
        found.extend(getattr(torch.get_device_module(device), "default_generators", ()))
    return found
