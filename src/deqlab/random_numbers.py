"""The random numbers of f, held: every evaluation of a solve draws those of the first again.

The generators are set back before an evaluation, and put where they were after it, whatever
happens. They are shared by all threads: another one that draws meanwhile takes numbers that were
for this evaluation. So solves take turns, and an evaluation counts only if the generators end where
they ended before; otherwise it is made once more.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

TRIES = 100
"""Evaluations that other threads may spoil before it is an error."""

PATIENCE = 1.0
"""Seconds that a thread waits for its turn. Who holds the turn may itself wait for this thread (a
collective operation, autograd's own threads): then both go on, and only the check is left."""

_turn = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Keep other threads from evaluating maps that draw random numbers or write buffers."""
    mine = _turn.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        if mine:
            _turn.release()


class RandomNumbers:
    """The generators that f may draw from, and those that it does.

    Attributes:
        drawn: Generators that f draws from, with their state at the first evaluation.
    """

    def __init__(self, device: torch.device, own: Sequence[torch.Generator]) -> None:
        self.generators = [*_of_torch(device), *own]
        self.drawn: list[tuple[torch.Generator, Tensor]] = []
        self.ends: list[Tensor] | None = None  # where they are after an evaluation

    def __bool__(self) -> bool:
        return bool(self.drawn)

    def first(self, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return what `evaluate` does, and note what it draws from."""
        fz = self._watched(evaluate)
        if self.drawn and threading.active_count() > 1:
            # Perhaps with numbers that another thread had set back, or took away: not alone, for
            # most maps draw nothing, and need not wait for each other.
            with alone():
                fz = self._watched(evaluate)
        return fz

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

    def _watched(self, evaluate: Callable[[], Tensor]) -> Tensor:
        before = [generator.get_state() for generator in self.generators]
        fz = evaluate()
        ends = [generator.get_state() for generator in self.generators]
        moved = [i for i, end in enumerate(ends) if not _same(before[i], end)]
        self.drawn = [(self.generators[i], before[i]) for i in moved]
        self.ends = [ends[i] for i in moved]
        return fz

    def _undisturbed(self, evaluate: Callable[[], Tensor]) -> Tensor:
        for _ in range(TRIES):
            for generator, state in self.drawn:
                generator.set_state(state)
            fz = evaluate()
            if threading.active_count() == 1:
                return fz
            ends = [generator.get_state() for generator, _ in self.drawn]
            known, self.ends = self.ends, ends
            # Two that agree: the first evaluation itself may have been disturbed.
            if known is not None and all(map(_same, known, ends)):
                return fz
        raise RuntimeError(
            f"fixed_point: f draws random numbers, and in each of {TRIES} evaluations another "
            "thread drew from the same generator, so that f was never the same map; let the "
            "threads draw one after the other, or give f a torch.Generator of its own"
        )


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
