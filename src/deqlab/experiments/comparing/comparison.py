"""The verdict of a comparison: a reference arm against others, paired by seed.

Two arms are compared at each seed, in their losses by the logarithm of the ratio, in accuracies by
the difference; `paired_interval` makes an interval of that. The DEQ beats an arm if all of the
interval is on its side, loses if all of it is on the other, and ties otherwise. Between two
networks that have learned nothing there is no winner, however sure the difference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from deqlab.experiments.base import Outcome, Row, Verdict
from deqlab.experiments.comparing.contest import contest
from deqlab.experiments.comparing.evidence import (
    arms_of,
    by_seed,
    interval,
    least_converged,
    number,
    outcome,
    percent,
    seeds_in_words,
    with_range,
)
from deqlab.experiments.standing import LEAST_SEEDS
from deqlab.intervals import Interval, paired_interval
from deqlab.runs.records import Result, Rival

LEARNED = 0.9
"""The share of the loss of a network that learned nothing below which a median shows learning."""

NEITHER: Result = "neither"
"""The result where neither network learns, instead of a win, a loss or a tie."""

_TOLD: dict[Result, str] = {
    "win": "Win against",
    "tie": "Tie against",
    "loss": "Loss against",
    NEITHER: "Neither learns, the DEQ nor",
}

_TINY = 1e-300  # a loss of 0 has no logarithm


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is compared: a field of the summary rows.

    Attributes:
        field: The name of the field.
        label: What people call it.
        is_accuracy: Whether it is an accuracy: then higher is better, shown in percent and
            compared by differences. Else it is a loss, at least 0, and compared by ratios.
    """

    field: str
    label: str
    is_accuracy: bool = False

    def values(self, rows: Sequence[Row], arm: str) -> dict[int, float]:
        """Return the values of an arm by seed; one that is null on disk is the worst there is."""
        worst = float("-inf") if self.is_accuracy else float("inf")
        return by_seed(rows, self.field, arm=arm, missing=worst)

    def show(self, values: Sequence[float]) -> str:
        """Return the median and the range."""
        if self.is_accuracy:
            return with_range(values, lambda share: f"{100 * share:.1f}", unit=" %")
        return with_range(values)

    def gains(self, ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
        """Return by how much ours are better than theirs, for each seed."""
        sign = 1 if self.is_accuracy else -1
        return [sign * self._difference(ours[seed], theirs[seed]) for seed in ours]

    def show_gain(self, gain: Interval) -> str:
        """Return how many points the DEQ is ahead, or how many times its loss the other is."""
        if self.is_accuracy:
            return f"DEQ less this {_points(gain.estimate)} points{interval(gain, _points)}"
        return f"{_power(gain.estimate)} times the DEQ's{interval(gain, _power)}"

    @property
    def axis(self) -> tuple[str, float]:
        """What the leads of a contest are, and that of a tie."""
        name = self.field.replace("_", " ")
        if self.is_accuracy:
            return f"{name} of the DEQ less that of the rival, in points", 0.0
        return f"{name} of the rival / of the DEQ", 1.0

    def rival(self, row: Row, result: Result, gain: Interval) -> Rival:
        """Return a rival with its lead in the unit of `axis`, from its summary row."""
        ends = (gain.estimate, gain.low, gain.high)
        estimate, low, high = (100 * e if self.is_accuracy else _ratio(e) for e in ends)
        return Rival(
            label=row["label"],
            group="" if row["matching"] is None else f"equal {row['matching']}",
            result=result,
            estimate=estimate,
            low=low,
            high=high,
            confidence=gain.confidence,
        )

    def _difference(self, a: float, b: float) -> float:
        if a == b:  # also both inf
            return 0.0
        return a - b if self.is_accuracy else math.log(max(a, _TINY)) - math.log(max(b, _TINY))


def judge(
    metric: Metric,
    rows: Sequence[Row],
    *,
    subject: str,
    views: Sequence[str] = (),
    unlearned: float | None = None,
) -> Verdict:
    """Compare the arm "deq" with each FNN, and say how often it wins at equal cost.

    The claim holds if the DEQ beats every FNN at equal parameters and at equal FLOPs, fails if it
    beats none or fewer than it loses to, and holds partly in between; it is undecided if the DEQ
    was not at its own equilibrium, or if no network has learned anything.

    Args:
        metric: What is compared.
        rows: The rows of all arms, one summary for each seed.
        subject: Where the sentence begins.
        views: Costs at which FNNs should match; a claim with none of them at one of these holds
            partly at best.
        unlearned: The loss of the best network that has learned nothing, such as a constant; None
            calls every difference one between networks that have learned.
    """
    ours = metric.values(rows, "deq")
    tallies: dict[str, list[Result]] = {}
    details, gains = [], []
    for arm, row in arms_of(rows).items():
        if arm == "deq":
            continue
        theirs = metric.values(rows, arm)
        leads = metric.gains(ours, theirs)
        gain = paired_interval(leads)
        better = min(median(ours.values()), median(theirs.values()))
        learned = unlearned is None or better <= LEARNED * unlearned
        result = result_of(gain, len(leads)) if learned else NEITHER
        rival = metric.rival(row, result, gain)
        if rival.group:  # a network of the user's own is no twin
            tallies.setdefault(row["matching"], []).append(result)
        gains.append((rival, leads))
        details.append(
            f"{_TOLD[result]} {row['label']} at {rival.group or 'a cost of its own'}: "
            f"{metric.show(list(theirs.values()))}, {metric.show_gain(gain)}."
        )
    scores = ", ".join(_score(matching, results) for matching, results in tallies.items())
    sentence = (
        f"{subject}, the DEQ reaches {metric.label} {metric.show(list(ours.values()))} over "
        f"{seeds_in_words(len(ours))}: {scores}."
    )
    solved = least_converged(rows)
    missing = [view for view in views if view not in tallies]
    details += [f"No FNN of these depths comes near the DEQ's {view}." for view in missing]
    details.append(
        f"At evaluation {percent(solved)} of the test samples were at their equilibrium "
        "(in the worst seed)."
    )
    found = _outcome([result for results in tallies.values() for result in results], solved)
    if missing and found == "holds":
        found = "holds partly"
    return Verdict(
        outcome=found,
        sentence=sentence,
        details=tuple(details),
        contest=contest(*metric.axis, gains, solved=solved),
    )


def result_of(gain: Interval, seeds: int) -> Result:
    """Return who wins by an interval; below LEAST_SEEDS nobody does."""
    if seeds < LEAST_SEEDS or not gain.sign:
        return "tie"
    return "win" if gain.sign > 0 else "loss"


def _score(matching: str, results: Sequence[Result]) -> str:
    fnns = "FNN" if len(results) == 1 else "FNNs"
    told = (
        f"at equal {matching} it beats {results.count('win')} of {len(results)} {fnns} and "
        f"loses to {results.count('loss')}"
    )
    unlearned = results.count(NEITHER)
    return f"{told} (against {unlearned}, neither learns)" if unlearned else told


def _outcome(results: Sequence[Result], solved: float) -> Outcome:
    if set(results) == {NEITHER}:
        return "undecided"
    wins = [result == "win" for result in results]
    return outcome(wins, enough=max(1, results.count("loss")), solved=solved)


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _ratio(exponent: float) -> float:
    return math.exp(exponent) if exponent < 700 else math.inf


def _power(exponent: float) -> str:
    return number(_ratio(exponent))
