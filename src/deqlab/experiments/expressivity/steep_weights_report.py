"""The page and the verdict of `steep-weights`: norms of a DEQ against those of FNNs, for each d.

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

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    arms_of,
    by_seed,
    interval,
    number,
    outcome,
    seeds_in_words,
    select,
    with_range,
)
from deqlab.experiments.page import Page, chart, column, table
from deqlab.intervals import Interval, paired_interval

SURE = 10
"""The steepness up to which the claim is judged; beyond, whatever is measured is told."""

DEQ = "deq"

Norms: TypeAlias = Mapping[int, float]
"""The norms of one arm at one d, by the seeds that got there."""

STEPS = {"x_label": "d, for a step of width 2^-d"}

PAGE = Page(
    charts=(
        chart(
            "point",
            "d",
            "norm",
            title="Largest infinity norm where the error is within the tolerance",
            caption="max |W|_inf of all matrices, when training ends; networks that do not get "
            "there are not drawn. The bounds are those of FNNs of any width.",
            **STEPS,
        ),
        chart(
            "point",
            "d",
            "error",
            title="Largest error at the end",
            caption="On the test points, half of them within four steps' width of the step.",
            y_label="largest error",
            **STEPS,
        ),
    ),
    tables=(
        table(
            "point",
            column("norm", "norm", better="lower"),
            column("error", "largest error", better=None),
            column("test_loss", better=None),
            "start",
            "steps",
            column("residual", "relative residual"),
            "converged",
            title="At each steepness",
            caption="The residual and the share that converged are those of the test points; a "
            "start above 1 is that of a network that missed before from other weights.",
            by="d",
        ),
    ),
)


def verdict(
    rows: Sequence[Row], *, log2_steepness: Sequence[int], num_seeds: int, tolerance: float
) -> Verdict:
    """Return whether the DEQ's norm is below the FNNs' for every d up to 10.

    Args:
        rows: The rows of kind "point" and "summary".
        log2_steepness: The values of d, increasing.
        num_seeds: The number of seeds of every arm.
        tolerance: The largest error of a network that gets there.
    """
    arms = [arm for arm, row in arms_of(rows).items() if row["matching"] != "bound"]
    norms = {
        d: {arm: by_seed(rows, "norm", kind="point", arm=arm, d=d) for arm in arms}
        for d in log2_steepness
    }
    judged = [d for d in log2_steepness if d <= SURE]
    answers = {d: _is_below(norms[d], num_seeds) for d in judged}
    below = [d for d in judged if answers[d]]
    missed = [d for d in judged if len(norms[d][DEQ]) < num_seeds]
    done = [d for d in log2_steepness if len(norms[d][DEQ]) == num_seeds]
    sentence = (
        f"Trained to an error of {tolerance:g} at most, over {seeds_in_words(num_seeds)}, the "
        f"DEQ's largest infinity norm is below that of every FNN that gets there for {len(below)} "
        f"of {len(judged)} values of d up to {SURE}"
        f"{_against(norms[below[-1]], below[-1]) if below else ''}{_undecided(missed)}; "
        f"{_furthest(done)}."
    )
    details = []
    for d in log2_steepness:
        told = [_told(rows, norms[d], arm, d, num_seeds) for arm in arms]
        details.append(f"d = {d}: {'; '.join(told)}.")
    decided = [answer for answer in answers.values() if answer is not None]
    return Verdict(
        outcome=outcome(list(map(bool, answers.values())) if decided else []),
        sentence=sentence,
        details=tuple(details),
    )


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


def _told(rows: Sequence[Row], norms: Mapping[str, Norms], arm: str, d: int, num_seeds: int) -> str:
    label, found = arms_of(rows)[arm]["label"], norms[arm].values()
    if not select(rows, "point", arm=arm, d=d):
        return f"{label} is left out, as it missed before"
    if not found:
        return f"{label} never gets there"
    told = f"{label} has a norm of {with_range(found)} at {len(found)} of {num_seeds} seeds"
    if arm == DEQ or (gain := _gain(norms, arm)) is None:
        return told
    return f"{told}, {_ratio(gain.estimate)} times the DEQ's{interval(gain, _ratio)}"


def _ratio(logarithm: float) -> str:
    return number(math.exp(logarithm))


def _against(norms: Mapping[str, Norms], d: int) -> str:
    ours = median(norms[DEQ].values())
    theirs = min(median(found.values()) for arm, found in norms.items() if arm != DEQ and found)
    return f" (at d = {d}: {number(ours)} against {number(theirs)} or more in median)"


def _undecided(missed: Sequence[int]) -> str:
    told = ", ".join(f"{d}" for d in missed)
    return f", undecided at d = {told}, where the DEQ misses at a seed" if missed else ""


def _furthest(done: Sequence[int]) -> str:
    if not done:
        return "at no d does the DEQ get there at every seed"
    return f"the largest d at which the DEQ gets there at every seed is {max(done)}"
