"""Clocks and counters.

Everything that is compared is timed in turn, in one process: a machine that slows down for a while
then slows all of it, and quotients are formed within one round, before the median is taken.
"""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch import Tensor


def seconds(run: Callable[[], object]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def interleaved(
    runs: Mapping[str, Callable[[], object]], repeats: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Return the times of each run: every round calls each once, in the same order.

    Args:
        runs: What to time, by name.
        repeats: Rounds.
        warm: Whether to call each once before, which is not counted.
    """
    if warm:
        for run in runs.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median of the quotients of two lists of times, round by round."""
    return median(top / bottom for top, bottom in zip(numerators, denominators, strict=True))


def repeated(run: Callable[[], object], least: float = 2e-3) -> tuple[Callable[[], object], int]:
    """Return a run that calls `run` as often as lasts `least` seconds, and how often that is."""
    run()
    calls = max(1, round(least / max(seconds(run), 1e-7)))
    return lambda: [run() for _ in range(calls)], calls


class Counted:
    """A map that counts its evaluations, their rows, and products with its transposed Jacobian.

    Every walk over its tape counts, the last one to the parameters included.
    """

    def __init__(self, f: Callable[..., Tensor]) -> None:
        self.f = f
        self.evaluations = 0
        self.rows = 0
        self.backward_passes = 0

    def __call__(self, *arguments: Tensor) -> Tensor:
        self.evaluations += 1
        self.rows += len(arguments[0])
        out = self.f(*arguments)
        if torch.is_grad_enabled() and out.requires_grad:
            out.register_hook(self._count)
        return out

    def _count(self, gradient: Tensor) -> None:
        self.backward_passes += 1
