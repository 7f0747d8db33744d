"""How fast residuals fall, and what error that leaves."""

from collections.abc import Sequence

from deqlab.linalg.arrays import Array, where, zeros_like

SPAN = 8
"""Steps over which a rate is measured: the residuals of accelerated methods fall unevenly."""

SLOWEST = 0.999
"""Rates above it are noise."""


def recent_rate(trace: Sequence[Array]) -> Array:
    """Return the factor per step by which each row's residuals fell lately, 0 to `SLOWEST`.

    Args:
        trace: Residuals (B,) of successive steps, at least one; of a single one nothing is known,
            and the rate is 0. Call this under `np.errstate`: they may be 0, inf or nan.
    """
    steps = min(SPAN, len(trace) - 1)
    if steps == 0:
        return zeros_like(trace[-1])
    factor = (trace[-1] / trace[-1 - steps]) ** (1 / steps)
    return where(factor < SLOWEST, factor, SLOWEST)  # nan is no smaller
