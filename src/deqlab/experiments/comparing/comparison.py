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

from deqlab.experiments.base import Outcome, Row, Verdict, summaries
from deqlab.experiments.comparing.evidence import WELL_SOLVED
from deqlab.experiments.comparing.paired import Interval, paired_interval

LEARNED = 0.9
"""Share of the loss of a network that learned nothing below which a median loss shows learning."""

NEITHER = "neither"
"""Learns: instead of a win, a loss or a tie."""

_TOLD = {
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
        field: Its name.
        label: What people call it.
        is_accuracy: Higher is better, shown in percent, compared by differences; else it is a
            loss, at least 0, and compared by ratios.
    """

    field: str
    label: str
    is_accuracy: bool = False

    def show(self, values: Sequence[float]) -> str:
        """Return the median and the range."""
        if self.is_accuracy:
            low, middle, high = (f"{100 * v:.1f}" for v in _range(values))
            return f"{middle} % ({low} to {high})"
        low, middle, high = (f"{v:.3g}" for v in _range(values))
        return f"{middle} ({low} to {high})"

    def gains(self, ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
        """Return by how much ours are better than theirs, for each seed."""
        sign = 1 if self.is_accuracy else -1
        return [sign * self._difference(ours[seed], theirs[seed]) for seed in ours]

    def show_gain(self, gain: Interval) -> str:
        """Return how many points the DEQ is ahead, or how many times its loss the other is."""
        if self.is_accuracy:
            low, middle, high = (f"{100 * v:+.1f}" for v in (gain.low, gain.estimate, gain.high))
            told = f"DEQ less FNN {middle} points"
        else:
            low, middle, high = (_power(v) for v in (gain.low, gain.estimate, gain.high))
            told = f"{middle} times the DEQ's"
        if gain.confidence == 0:
            return told
        return f"{told} ({100 * gain.confidence:.0f} % interval {low} to {high})"

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
        rows: Of all arms, one summary for each seed.
        subject: Where the sentence begins.
        views: Costs at which FNNs should match; a claim with none of them at one of these holds
            partly at best.
        unlearned: Loss of the best network that has learned nothing, such as a constant; None
            calls every difference one between networks that have learned.
    """
    last = summaries(rows)
    deq = {row["seed"]: row for row in last if row["arm"] == "deq"}
    values = _values(metric, deq)
    converged = min(row["converged"] for row in deq.values())
    tallies: dict[str, list[str]] = {}
    details = []
    for arm in dict.fromkeys(row["arm"] for row in last if row["arm"] != "deq"):
        other = {row["seed"]: row for row in last if row["arm"] == arm}
        theirs = _values(metric, other)
        gain = paired_interval(metric.gains(values, theirs))
        result = {1: "win", 0: "tie", -1: "loss"}[gain.sign]
        if unlearned is not None and _best(values, theirs) > LEARNED * unlearned:
            result = NEITHER
        first = next(iter(other.values()))
        tallies.setdefault(first["matching"], []).append(result)
        details.append(
            f"{_TOLD[result]} {first['label']} at equal {first['matching']}: "
            f"{metric.show(list(theirs.values()))}, {metric.show_gain(gain)}."
        )
    scores = ", ".join(_score(matching, results) for matching, results in tallies.items())
    sentence = (
        f"{subject}, the DEQ reaches {metric.label} {metric.show(list(values.values()))} over "
        f"{len(values)} {'seed' if len(values) == 1 else 'seeds'}: {scores}."
    )
    outcome = _outcome([r for results in tallies.values() for r in results], converged)
    missing = [view for view in views if view not in tallies]
    if missing and outcome == "holds":
        outcome = "holds partly"
    details += [f"No FNN of these depths comes near the DEQ's {view}." for view in missing]
    details.append(
        f"At evaluation {100 * converged:.1f} % of the test samples were at their equilibrium "
        "(in the worst seed)."
    )
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(details))


def _best(ours: dict[int, float], theirs: dict[int, float]) -> float:
    """Return the smaller of two median losses."""
    return min(median(ours.values()), median(theirs.values()))


def _score(matching: str, results: Sequence[str]) -> str:
    told = (
        f"at equal {matching} it beats {results.count('win')} of {len(results)} FNNs and loses to "
        f"{results.count('loss')}"
    )
    unlearned = results.count(NEITHER)
    return f"{told} (against {unlearned}, neither learns)" if unlearned else told


def _outcome(results: Sequence[str], converged: float) -> Outcome:
    if converged < WELL_SOLVED or set(results) == {NEITHER}:
        return "undecided"
    if all(result == "win" for result in results):
        return "holds"
    wins, losses = results.count("win"), results.count("loss")
    return "holds partly" if wins > 0 and wins >= losses else "does not hold here"


def _values(metric: Metric, rows: dict[int, Row]) -> dict[int, float]:
    # A loss that overflowed is null on disk; it is the worst there is.
    worst = float("-inf") if metric.is_accuracy else float("inf")
    found = {seed: row[metric.field] for seed, row in rows.items()}
    return {seed: worst if value is None else value for seed, value in found.items()}


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _power(exponent: float) -> str:
    return f"{math.exp(exponent):.3g}" if exponent < 700 else "inf"
