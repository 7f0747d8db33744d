"""The verdict of `steep-weights`: the norms of a DEQ against those of FNNs, for each d up to 10.

At one d the DEQ's norms are below if the largest of them, over seeds, is below the smallest of
every FNN that gets there at a seed or more; FNNs that never do are told of and decide nothing. A d
at which the DEQ misses at some seed, or no FNN gets there, is undecided. The claim holds if the
norms are below for every d up to 10, partly for some, and is undecided if every such d is.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TypeAlias

from deqlab.experiments.base import Outcome, Row, Verdict, summaries

SURE = 10
"""Steepness up to which the claim is judged; beyond, whatever is measured is told."""

DEQ = "deq"

Norms: TypeAlias = Mapping[int, Sequence[float]]
"""Of one arm: the norms of the seeds that got there, for each d."""


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
    norms = {arm: _norms(rows, arm, log2_steepness) for arm in labels}
    others = {arm: found for arm, found in norms.items() if arm != DEQ}
    tried = {(row["arm"], row["d"]) for row in rows if row["kind"] == "point"}
    judged = [d for d in log2_steepness if d <= SURE]
    answers = {d: _is_below(norms[DEQ], others, d, num_seeds) for d in judged}
    below = [d for d in judged if answers[d]]
    sentence = (
        f"Trained to an error of {tolerance:g} at most, over {num_seeds} "
        f"{'seed' if num_seeds == 1 else 'seeds'}, the DEQ's largest infinity norm is below that "
        f"of every FNN that gets there for {len(below)} of {len(judged)} values of d up to {SURE}"
        f"{_against(norms[DEQ], others, below)}; {_furthest(norms[DEQ], num_seeds)}."
    )
    details = []
    for d in log2_steepness:
        told = [
            _told(labels[arm], found[d], num_seeds, tried=(arm, d) in tried)
            for arm, found in norms.items()
        ]
        details.append(f"d = {d}: {'; '.join(told)}.")
    return Verdict(
        outcome=_outcome(list(answers.values())), sentence=sentence, details=tuple(details)
    )


def _norms(rows: Sequence[Row], arm: str, log2_steepness: Sequence[int]) -> Norms:
    points = [row for row in rows if row["kind"] == "point" and row["arm"] == arm]
    return {
        d: [row["norm"] for row in points if row["d"] == d and row["norm"] is not None]
        for d in log2_steepness
    }


def _is_below(deq: Norms, others: Mapping[str, Norms], d: int, num_seeds: int) -> bool | None:
    """Whether the DEQ's norms are below at one d; None if that is undecided."""
    reached = [found[d] for found in others.values() if found[d]]
    if len(deq[d]) < num_seeds or not reached:
        return None
    return all(max(deq[d]) < min(found) for found in reached)


def _outcome(answers: Sequence[bool | None]) -> Outcome:
    if all(answer is None for answer in answers):
        return "undecided"
    if all(answers):
        return "holds"
    return "holds partly" if any(answers) else "does not hold here"


def _told(label: str, norms: Sequence[float], num_seeds: int, *, tried: bool) -> str:
    if not tried:
        return f"{label} is left out, as it missed before"
    if not norms:
        return f"{label} never gets there"
    return (
        f"{label} has a norm of {median(norms):.3g} ({min(norms):.3g} to {max(norms):.3g}) at "
        f"{len(norms)} of {num_seeds} seeds"
    )


def _against(deq: Norms, others: Mapping[str, Norms], below: Sequence[int]) -> str:
    if not below:
        return ""
    d = below[-1]
    least = min(norm for found in others.values() for norm in found[d])
    return f" (at d = {d}: {max(deq[d]):.3g} at most against {least:.3g} at least)"


def _furthest(deq: Norms, num_seeds: int) -> str:
    done = [d for d, norms in deq.items() if len(norms) == num_seeds]
    if not done:
        return "at no d does the DEQ get there at every seed"
    return f"the largest d at which the DEQ gets there at every seed is {max(done)}"
