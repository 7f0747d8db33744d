"""How large the weights of the networks are that learned the ramp: what the paper's claim is about.

A feed-forward network (FNN) of L hidden layers within eps of a ramp of slope 2^d has

    max_l |W_l|_inf >= ((1 - 2 eps) 2^d)^(1 / (L + 1)),

whatever its width; see `expressivity.bounds`. A DEQ has the ramp with norms of at most 2. Each
network is told of on its best route, by its median test loss, of those that are judged.
"""

from collections.abc import Iterator, Sequence
from statistics import median

from deqlab.experiments.base import Row
from deqlab.experiments.expressivity.open.verdict import LEARNED, Arm, arms_of, best_of


def sentence(rows: Sequence[Row], least: float) -> str:
    """Return the norms of the best DEQ and the least of any FNN, where both learned the ramp.

    Args:
        rows: With the summaries of all arms.
        least: The loss below which all losses are equal.
    """
    judged = [arm for arm in arms_of(rows) if arm.is_judged]
    deqs = [arm for arm in judged if arm.deq]
    fnns = [norm for arm in judged if not arm.deq for norm in _norms(arm)]
    ours = _norms(best_of(deqs, least)) if deqs else []
    if not ours or not fnns:
        return ""
    return (
        f" Where it learned the ramp its largest infinity norm is {max(ours):.3g} at most, and "
        f"that of an FNN that did {min(fnns):.3g} at least."
    )


def details(rows: Sequence[Row], least: float) -> Iterator[str]:
    """Yield the norms of each network on its best route."""
    networks: dict[str, list[Arm]] = {}
    for arm in arms_of(rows):
        if arm.is_judged:
            networks.setdefault(arm.rows[0]["network"], []).append(arm)
    for arms in networks.values():
        yield _told(best_of(arms, least))


def _learned(arm: Arm) -> list[Row]:
    return [row for row in arm.rows if arm.losses[row["seed"]] < LEARNED]


def _norms(arm: Arm) -> list[float]:
    return [row["norm"] for row in _learned(arm)]


def _told(arm: Arm) -> str:
    norms, count = _norms(arm), f"{arm.learned} of {len(arm.rows)} seeds"
    if not norms:
        return f"{arm.label} learned the ramp at {count}."
    bound = ""
    if not arm.deq:
        least = min(row["bound"] for row in _learned(arm))
        bound = f"; {least:.3g} is the least possible at this depth and error"
    return (
        f"{arm.label} learned the ramp at {count}, with a largest infinity norm of "
        f"{median(norms):.3g} ({min(norms):.3g} to {max(norms):.3g}){bound}."
    )
