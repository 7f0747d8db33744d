"""What follows from a contest: what to do, and how many more seeds would decide.

A rival that is not told apart from the DEQ is told apart by n seeds if its lead d and the standard
deviation s over seeds are as measured and Student's interval of n differences leaves 0 out:

    t_{.975, n - 1} s / sqrt(n) < |d|,   n >= 6.

With fewer than 6 seeds no signed-rank interval reaches 95 % (see `intervals`), whatever they say.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.stats import t as student

from deqlab.experiments.comparing.evidence import WELL_SOLVED
from deqlab.runs.records import Contest, Rival

Gains = Sequence[tuple[Rival, Sequence[float]]]
"""Each rival, with the lead of the DEQ at each seed, above 0 where the DEQ is better."""

ENOUGH = 6
"""Seeds from which an interval may have a confidence of 95 %."""

MOST = 1000
"""Seeds that nobody runs."""


def contest(unit: str, neutral: float, gains: Gains, *, solved: float) -> Contest:
    """Return the contest of the DEQ and its rivals.

    Args:
        unit: What the leads of the rivals are.
        neutral: The lead of a tie in that unit.
        gains: The rivals, and the leads by seed from which their intervals come.
        solved: The share of samples at their equilibrium; below WELL_SOLVED no DEQ is in it.
    """
    rivals = tuple(rival for rival, _ in gains)
    return Contest(
        unit=unit,
        neutral=neutral,
        rivals=rivals,
        advice=advice(rivals)
        if solved >= WELL_SOLVED
        else "Choose nothing by this run: its DEQ was not at its equilibrium.",
        seeds=more_seeds(gains),
    )


def advice(rivals: Sequence[Rival]) -> str:
    """Return what to do; rivals of another cost than the DEQ's count where there are no others."""
    rivals = [rival for rival in rivals if rival.group] or rivals
    by_result = {
        result: [rival for rival in rivals if rival.result == result]
        for result in ("win", "tie", "loss", "neither")
    }
    losses, wins = by_result["loss"], by_result["win"]
    if len(by_result["neither"]) == len(rivals):
        return "Choose nothing by this run: neither the DEQ nor a rival learns."
    if losses:
        best = min(losses, key=lambda rival: rival.high)
        if not best.group:
            return f"{best.label} beats the DEQ, but not at equal cost."
        name = best.label if best.group in best.label else f"{best.label} at {best.group}"
        return f"Take {name}: it beats the DEQ."
    if len(wins) == len(rivals):
        return f"Take the DEQ: it beats every rival{' of equal cost' if rivals[0].group else ''}."
    if not wins:
        return "No DEQ is needed here: no rival is told apart from it, so take the cheapest."
    return (
        f"Take the DEQ where its rivals are the {len(wins)} of {len(rivals)} that it beats; from "
        "the others it is not told apart."
    )


def more_seeds(gains: Gains) -> str:
    """Return how many more seeds would decide."""
    count = max((len(of) for _, of in gains), default=0)
    if count < 2:
        return "How many seeds would decide cannot be told from one; six or more reach 95 %."
    undecided = [of for rival, of in gains if rival.result == "tie"]
    if undecided:
        return _to_decide(undecided, count)
    sure = [rival.confidence for rival, _ in gains if rival.result != "neither"]
    if not sure:
        return "More seeds decide nothing where neither learns."
    told = f"Every rival is told apart, each with a confidence of {100 * min(sure):.0f} %"
    more = ENOUGH - count
    return f"{told}; {more} more can make it 97 %." if more > 0 else f"{told}."


def _to_decide(gains: Sequence[Sequence[float]], count: int) -> str:
    wanted = sorted(map(seeds_wanted, gains))
    if wanted[0] > MOST:
        return f"More than {MOST:,} seeds would be needed to tell any open rival from the DEQ."
    which = "it" if len(wanted) == 1 else f"the nearest of {len(wanted)} open rivals"
    told = f"About {_more(wanted[0], count)} would decide {which}"
    if len(wanted) > 1:
        told += f", {_more(wanted[-1], count)} all of them"
    return f"{told}, if leads and their spread are as measured (95 %, Student's t)."


def _more(wanted: float, count: int) -> str:
    if wanted > MOST:
        return f"more than {MOST:,}"
    # As many as there are may be enough by Student's t, and not by signed ranks.
    more = max(1, int(wanted) - count)
    return f"{more} more {'seed' if more == 1 else 'seeds'}"


def seeds_wanted(gains: Sequence[float]) -> float:
    """Return how many seeds would tell a lead from 0; inf if more than MOST.

    Args:
        gains: The lead at each seed, of two or more.

    Example:
        >>> seeds_wanted([1.0, 1.2, 0.8]), seeds_wanted([1.0, -1.0])
        (6.0, inf)
    """
    if not all(map(math.isfinite, gains)):
        return math.inf
    lead, spread = abs(fmean(gains)), stdev(gains)

    def decide(count: int) -> bool:
        return bool(student.ppf(0.975, count - 1) * spread < lead * math.sqrt(count))

    found = bisect_left(range(ENOUGH, MOST + 1), True, key=decide) + ENOUGH
    return float(found) if found <= MOST else math.inf
