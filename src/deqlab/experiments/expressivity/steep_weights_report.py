"""The verdict of `steep-weights`: the norms of a DEQ against those of FNNs, for each d up to 10.

At one d an FNN is compared with the DEQ at the seeds at which it gets there, by the ratio of the
norms; the DEQ's is below if all of the interval (`paired_interval`) is, for every FNN that gets
there at a seed or more. FNNs that never do are told of and decide nothing. A d at which the DEQ
misses at some seed, or no FNN gets there, is undecided. The claim holds if the norms are below for
every d up to 10, partly for some, and is undecided if every such d is.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeAlias

from deqlab.experiments.base import Outcome, Row, Verdict, summaries
from deqlab.experiments.comparing.paired import Interval, paired_interval

SURE = 10
"""Steepness up to which the claim is judged; beyond, whatever is measured is told."""

DEQ = "deq"

Norms: TypeAlias = Mapping[int, float]
"""Of one arm at one d: the norm at each seed that got there."""


def verdict(
    rows: Sequence[Row], *, log2_steepness: Sequence[int], num_seeds: int, tolerance: float
) -> Verdict:
    """Return whether the DEQ's norm is below the FNNs' for every d up to 10.

    Args:
        rows: Of kind "point" and "summary".
        log2_steepness: The values of d, increasing.
        num_seeds: Of every arm.
        tolerance: Largest error of a network that gets there.
    """
    labels = {row["arm"]: row["label"] for row in summaries(rows) if row["matching"] != "bound"}
    points = [row for row in rows if row["kind"] == "point"]
    tried = {(row["arm"], row["d"]) for row in points}
    norms = {d: {arm: _norms(points, arm, d) for arm in labels} for d in log2_steepness}
    judged = [d for d in log2_steepness if d <= SURE]
    answers = {d: _is_below(norms[d], num_seeds) for d in judged}
    below = [d for d in judged if answers[d]]
    missed = [d for d in judged if len(norms[d][DEQ]) < num_seeds]
    done = [d for d in log2_steepness if len(norms[d][DEQ]) == num_seeds]
    sentence = (
        f"Trained to an error of {tolerance:g} at most, over {num_seeds} "
        f"{'seed' if num_seeds == 1 else 'seeds'}, the DEQ's largest infinity norm is below that "
        f"of every FNN that gets there for {len(below)} of {len(judged)} values of d up to {SURE}"
        f"{_against(norms[below[-1]], below[-1]) if below else ''}{_undecided(missed)}; "
        f"{_furthest(done)}."
    )
    details = []
    for d in log2_steepness:
        told = [
            _told(label, norms[d], arm, num_seeds, tried=(arm, d) in tried)
            for arm, label in labels.items()
        ]
        details.append(f"d = {d}: {'; '.join(told)}.")
    return Verdict(
        outcome=_outcome(list(answers.values())), sentence=sentence, details=tuple(details)
    )


def _norms(points: Sequence[Row], arm: str, d: int) -> Norms:
    return {
        row["seed"]: row["norm"]
        for row in points
        if row["arm"] == arm and row["d"] == d and row["norm"] is not None
    }


def _is_below(norms: Mapping[str, Norms], num_seeds: int) -> bool | None:
    """Whether the DEQ's norms are below at one d; None if that is undecided."""
    gains = [_gain(norms, arm) for arm, found in norms.items() if arm != DEQ and found]
    if len(norms[DEQ]) < num_seeds or not gains:
        return None
    return all(gain is not None and gain.sign > 0 for gain in gains)


def _gain(norms: Mapping[str, Norms], arm: str) -> Interval | None:
    """Return the logarithm of an FNN's norm over the DEQ's; None if no seed has both."""
    ours, theirs = norms[DEQ], norms[arm]
    differences = [math.log(theirs[seed] / ours[seed]) for seed in ours if seed in theirs]
    return paired_interval(differences) if differences else None


def _outcome(answers: Sequence[bool | None]) -> Outcome:
    if all(answer is None for answer in answers):
        return "undecided"
    if all(answers):
        return "holds"
    return "holds partly" if any(answers) else "does not hold here"


def _told(label: str, norms: Mapping[str, Norms], arm: str, num_seeds: int, *, tried: bool) -> str:
    if not tried:
        return f"{label} is left out, as it missed before"
    found = norms[arm].values()
    if not found:
        return f"{label} never gets there"
    told = (
        f"{label} has a norm of {median(found):.3g} ({min(found):.3g} to {max(found):.3g}) at "
        f"{len(found)} of {num_seeds} seeds"
    )
    if arm == DEQ or (gain := _gain(norms, arm)) is None:
        return told
    low, middle, high = (math.exp(e) for e in (gain.low, gain.estimate, gain.high))
    told = f"{told}, {middle:.3g} times the DEQ's"
    if gain.confidence == 0:
        return told
    return f"{told} ({100 * gain.confidence:.0f} % interval {low:.3g} to {high:.3g})"


def _against(norms: Mapping[str, Norms], d: int) -> str:
    ours = median(norms[DEQ].values())
    theirs = min(median(found.values()) for arm, found in norms.items() if arm != DEQ and found)
    return f" (at d = {d}: {ours:.3g} against {theirs:.3g} or more in median)"


def _undecided(missed: Sequence[int]) -> str:
    told = ", ".join(f"{d}" for d in missed)
    return f", undecided at d = {told}, where the DEQ misses at a seed" if missed else ""


def _furthest(done: Sequence[int]) -> str:
    if not done:
        return "at no d does the DEQ get there at every seed"
    return f"the largest d at which the DEQ gets there at every seed is {max(done)}"
