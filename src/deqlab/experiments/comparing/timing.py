"""Seconds of several computations, measured in turns so that a busy machine is fair to all."""

import time
from collections.abc import Callable, Sequence
from statistics import median


def seconds(runs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median wall time of each run, in seconds.

    Args:
        runs: What to measure; each is called once more beforehand, unmeasured.
        repeats: Times that each is measured, in turns; at least 1.
    """
    for run in runs:
        run()
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for times, run in zip(taken, runs, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [median(times) for times in taken]
