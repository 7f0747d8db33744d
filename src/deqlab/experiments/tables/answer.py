"""The answer of a comparison: in twelve words, how sure it is, and what would change it.

Two arms are compared on the same folds. With k rivals each interval has confidence 1 - .05 / k, so
that all of those with the DEQ are right together with 95 % (Bonferroni). One is called better only
where all of the interval says so; of those that no other is better than, the simplest is advised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from deqlab.experiments.base import Outcome, Row, Verdict
from deqlab.experiments.comparing.evidence import WELL_SOLVED, least_converged, percent, select
from deqlab.experiments.tables.arms import ARMS, CONSTANT, DEQ
from deqlab.experiments.tables.config import FOLDS
from deqlab.experiments.tables.metric import METRICS
from deqlab.intervals import Interval, folds_interval

ERRORS = 0.05
"""The probability that any of the intervals misses."""

MOST_TIMES = 20
"""Of a lead that is so many times smaller than what would show, nobody gathers enough rows."""

_SHARES = {"test_accuracy"}  # shown in percent


@dataclass(frozen=True)
class Scores:
    """What each arm scores on each fold.

    Attributes:
        metric: A field of METRICS.
        of: The scores by arm, in the order of the folds.
        rows: The rows of the table.
    """

    metric: str
    of: dict[str, list[float]]
    rows: int

    def lead(self, ours: str, theirs: str) -> Interval:
        """Return by how much one arm is better than another."""
        pairs = zip(self.of[ours], self.of[theirs], strict=True)
        confidence = 1 - ERRORS / (len(self.of) - 1)
        return folds_interval([a - b for a, b in pairs], 1 / FOLDS, confidence)

    def beats(self, ours: str, theirs: str) -> bool:
        """Return whether one arm is better than another for sure."""
        return self.lead(ours, theirs).sign > 0

    @property
    def advised(self) -> str | None:
        """The simplest arm that no other beats; None if that is a constant."""
        # There is one: who beats another has the larger mean.
        simplest = next(
            arm for arm in self.of if not any(self.beats(other, arm) for other in self.of)
        )
        return None if simplest == CONSTANT else simplest

    @property
    def saved(self) -> str | None:
        """The advised arm; without one the best, if its mean is above that of the constant."""
        best = max(self.of, key=self.mean)
        return self.advised or (None if best == CONSTANT else best)

    def mean(self, arm: str) -> float:
        """Return the mean score of an arm."""
        return fmean(self.of[arm])

    def show(self, score: float) -> str:
        """Write a score."""
        return percent(score) if self.metric in _SHARES else _short(score)

    def show_lead(self, lead: float) -> str:
        """Write a difference of scores."""
        return f"{100 * lead:+.1f} points" if self.metric in _SHARES else _short(lead, "+")


def _least(share: float) -> str:
    return "All" if share == 1 else f"At least {percent(min(share, 0.999))}"


def _short(score: float, sign: str = "") -> str:
    return f"{score:{sign}.3f}" if abs(score) < 1000 else f"{score:{sign}.3g}"


def scores_of(rows: Sequence[Row], metric: str, size: int) -> Scores:
    """Return the scores of all arms, the simplest first.

    Args:
        rows: The rows of a run.
        metric: The field that decides.
        size: The rows of the table.
    """
    found = {arm: select(rows, arm=arm) for arm in ARMS}
    return Scores(
        metric,
        {arm: [row[metric] for row in sorted(of, key=_fold)] for arm, of in found.items() if of},
        size,
    )


def judge(
    scores: Scores,
    rows: Sequence[Row],
    *,
    target: str,
    leaks: Sequence[str] = (),
    why: str | None = None,
    beside: Scores | None = None,
) -> Verdict:
    """Return the answer.

    Args:
        scores: What was measured.
        rows: The rows of the run.
        target: What is predicted.
        leaks: Suspicions, a sentence each.
        why: A sentence on the metric that decides, if one is wanted.
        beside: What was measured by another metric, which decides nothing.
    """
    rivals = [arm for arm in scores.of if arm not in (DEQ, CONSTANT)]
    answer, outcome = _answer(scores, rivals, target)
    solved = least_converged(rows)
    if solved < WELL_SOLVED:
        answer, outcome = "Undecided: the DEQ was not at its equilibrium on all rows.", "undecided"
    details = [
        *leaks,
        _surety(scores),
        *([why] if why else []),
        _change(scores, rivals, bool(leaks)),
        *(_against(scores, arm) for arm in (CONSTANT, *rivals)),
        *([_beside(beside, rivals, target)] if beside else []),
        _advice(scores),
        f"{_least(solved)} of the test rows were at their equilibrium, in each fold.",
    ]
    return Verdict(outcome=outcome, sentence=answer, details=tuple(details))


def _answer(scores: Scores, rivals: Sequence[str], target: str) -> tuple[str, Outcome]:
    """Return the answer in twelve words or fewer, names not counted, and what becomes of the claim.

    The claim is that the DEQ predicts better than all others.
    """
    advised = scores.advised
    better = [arm for arm in rivals if scores.beats(arm, DEQ)]
    if advised is None:
        return f"No model here surely predicts {target} better than a constant.", "undecided"
    if all(scores.beats(DEQ, arm) for arm in rivals):
        return f"Use the DEQ: it predicts {target} better than all others.", "holds"
    if better:
        # What is advised, if it is one of them: the best by its mean may be another with each seed.
        label = ARMS[advised if advised in better else max(better, key=scores.mean)].label
        return f"Not a DEQ: {target} is better predicted by the {label}.", "does not hold here"
    if advised == DEQ:
        return f"Use the DEQ: nothing simpler predicts {target} as well.", "holds partly"
    label = ARMS[advised].label
    return f"No DEQ needed: nothing is surely better than the {label}.", "does not hold here"


def _surety(scores: Scores) -> str:
    return (
        f"How sure: {METRICS[scores.metric]} on {len(scores.of[DEQ])} held-out folds of "
        f"{scores.rows} rows. Intervals are paired, corrected for training rows that folds share, "
        f"and those of the DEQ right together with {100 * (1 - ERRORS):.0f} %; nothing is called "
        "better that they do not support."
    )


def _change(scores: Scores, rivals: Sequence[str], leaks: bool) -> str:
    """Return what would change the answer."""
    best = max(rivals, key=scores.mean)
    name, lead = ARMS[best].label, scores.lead(DEQ, best)
    half = (lead.high - lead.low) / 2
    start = "What would change it: "
    if leaks:
        start += "leaving out what may be a leak; and besides, "
    if lead.sign:
        return (
            f"{start}only other rows, features, or a wider search of settings, since 0 is outside "
            f"of the interval of the DEQ against the {name}."
        )
    told = f"{start}a lead of {scores.show_lead(half)} or more against the {name} would show"
    if half >= MOST_TIMES * abs(lead.estimate):
        return f"{told}; at the one that was measured no number of rows would decide."
    rows = scores.rows * (half / abs(lead.estimate)) ** 2
    return (
        f"{told}; the measured one of {scores.show_lead(lead.estimate)} would, if it is true, with "
        f"about {float(f'{rows:.1g}'):,.0f} rows."
    )


def _against(scores: Scores, arm: str) -> str:
    lead = scores.lead(DEQ, arm)
    word = {1: "better than", 0: "not told apart from", -1: "worse than"}[lead.sign]
    low, high = (scores.show_lead(end) for end in (lead.low, lead.high))
    ours, theirs = (scores.show(scores.mean(each)) for each in (DEQ, arm))
    return (
        f"The DEQ ({ours}) is {word} the {ARMS[arm].label} ({theirs}): "
        f"{scores.show_lead(lead.estimate)}, {100 * lead.confidence:.0f} % interval {low} to "
        f"{high}."
    )


def _beside(scores: Scores, rivals: Sequence[str], target: str) -> str:
    """Return what would be answered by a metric that does not decide."""
    answer, _ = _answer(scores, rivals, target)
    told = "; ".join(f"{ARMS[arm].label} {scores.show(scores.mean(arm))}" for arm in scores.of)
    return f"Beside it, and deciding nothing, {METRICS[scores.metric]} ({told}): {answer}"


def _advice(scores: Scores) -> str:
    advised, best = scores.advised, scores.saved
    if advised is not None:
        label = ARMS[advised].label
        return f"Advised: the {label}, the simplest that no other is surely better than."
    told = f"Advised: none; no model is shown to be better than a constant with {scores.rows} rows"
    if best is None:
        return f"{told}, and none has a higher mean."
    return (
        f"{told}. The best is the {ARMS[best].label} ({scores.show(scores.mean(best))}; the "
        f"constant has {scores.show(scores.mean(CONSTANT))}), which may be chance."
    )


def _fold(row: Row) -> int:
    return int(row["seed"])
