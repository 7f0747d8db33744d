"""The verdict of a comparison: a reference arm against others, paired by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from deqlab.experiments.base import Outcome, Row, Verdict, summaries

WELL_SOLVED = 0.99
"""Share of test samples at their equilibrium below which a network is not called a DEQ."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is compared: a field of the summary rows.

    Attributes:
        field: Its name.
        label: What people call it.
        higher_is_better: Which way is up.
        percent: Show it as a percentage.
    """

    field: str
    label: str
    higher_is_better: bool
    percent: bool = False

    def show(self, values: Sequence[float]) -> str:
        """Return the median and the range."""
        if self.percent:
            low, middle, high = (f"{100 * v:.1f}" for v in _range(values))
            return f"{middle} % ({low} to {high})"
        low, middle, high = (f"{v:.3g}" for v in _range(values))
        return f"{middle} ({low} to {high})"


def judge(metric: Metric, rows: Sequence[Row], *, subject: str) -> Verdict:
    """Compare the arm "deq" with each FNN, and say how often it wins at equal cost.

    It beats an arm if its metric is better at every seed, loses if it is worse at every seed, and
    ties otherwise. The claim holds if it beats every FNN at equal parameters and at equal FLOPs,
    fails if it beats none or fewer than it loses to, and holds partly in between; it is undecided
    if the DEQ was not at its own equilibrium.
    """
    last = summaries(rows)
    deq = {row["seed"]: row for row in last if row["arm"] == "deq"}
    values = _values(metric, deq)
    converged = min(row["converged"] for row in deq.values())
    tallies: dict[str, list[str]] = {}
    details = []
    for arm in dict.fromkeys(row["arm"] for row in last if row["arm"] != "deq"):
        other = {row["seed"]: row for row in last if row["arm"] == arm}
        result = _compare(metric, values, _values(metric, other))
        first = next(iter(other.values()))
        tallies.setdefault(first["matching"], []).append(result)
        details.append(
            f"{result.capitalize()} against {first['label']} at equal {first['matching']}: "
            f"{metric.show(list(_values(metric, other).values()))}."
        )
    scores = ", ".join(
        f"at equal {matching} it beats {results.count('win')} of {len(results)} FNNs and loses "
        f"to {results.count('loss')}"
        for matching, results in tallies.items()
    )
    sentence = (
        f"{subject}, the DEQ reaches {metric.label} {metric.show(list(values.values()))} over "
        f"{len(values)} {'seed' if len(values) == 1 else 'seeds'}: {scores}."
    )
    outcome = _outcome([r for results in tallies.values() for r in results], converged)
    details.append(
        f"At evaluation {100 * converged:.1f} % of the test samples were at their equilibrium "
        "(in the worst seed)."
    )
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(details))


def _outcome(results: Sequence[str], converged: float) -> Outcome:
    if converged < WELL_SOLVED:
        return "undecided"
    if all(result == "win" for result in results):
        return "holds"
    wins, losses = results.count("win"), results.count("loss")
    return "holds partly" if wins > 0 and wins >= losses else "does not hold here"


def _compare(metric: Metric, ours: dict[int, float], theirs: dict[int, float]) -> str:
    sign = 1 if metric.higher_is_better else -1
    gains = [sign * (ours[seed] - theirs[seed]) for seed in ours]
    if all(gain > 0 for gain in gains):
        return "win"
    return "loss" if all(gain < 0 for gain in gains) else "tie"


def _values(metric: Metric, rows: dict[int, Row]) -> dict[int, float]:
    # A loss that overflowed is null on disk; it is the worst there is.
    worst = float("-inf") if metric.higher_is_better else float("inf")
    found = {seed: row[metric.field] for seed, row in rows.items()}
    return {seed: worst if value is None else value for seed, value in found.items()}


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)
