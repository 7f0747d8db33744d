"""Which of two states of a random generator comes first in its stream of numbers."""

import numpy as np
import torch
from torch import Tensor

REACH = 2**22
"""Numbers between two states, at most, for the order to be found; some 20 ms on a processor."""

PATTERN = 8
"""Numbers by which a place in the stream is known again: 248 bits."""


def is_at_or_before(generator: torch.Generator, state: Tensor, other: Tensor) -> bool:
    """Return whether a generator in `state` comes to `other` by drawing.

    A counter says so on devices (Philox); the host's generator (Mersenne Twister) has none, and the
    numbers after `other` are looked for in those after `state`. Unrelated states (another thread
    has set a seed) and those more than `REACH` numbers apart are in no order: False.
    """
    if torch.equal(state, other):
        return True
    if generator.device.type != "cpu":
        (seed, place), (other_seed, other_place) = (_philox(generator, s) for s in (state, other))
        return seed == other_seed and place < other_place
    first, second = _stream(state, PATTERN), _stream(other, PATTERN)
    reach = 2**10
    while reach <= REACH:  # short ways first, in both directions: one of them is there
        if _contains(_stream(state, reach + PATTERN), second):
            return True
        if _contains(_stream(other, reach + PATTERN), first):
            return False
        reach *= 16
    return False


def _philox(generator: torch.Generator, state: Tensor) -> tuple[int, int]:
    """Return the seed of a state, and how many numbers were drawn since."""
    twin = torch.Generator(generator.device)
    twin.set_state(state)
    return twin.initial_seed(), int(twin.get_offset())


def _stream(state: Tensor, count: int) -> np.ndarray:
    twin = torch.Generator()
    twin.set_state(state)
    return torch.empty(count, dtype=torch.int32).random_(generator=twin).numpy()


def _contains(stream: np.ndarray, sought: np.ndarray) -> bool:
    starts = np.flatnonzero(stream[: 1 - len(sought)] == sought[0])
    return any(np.array_equal(stream[i : i + len(sought)], sought) for i in starts)
