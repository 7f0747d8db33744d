"""Whether a trained DEQ beats every FNN of equal training FLOPs, from the summary rows.

The DEQ's route is the one where its median test loss is least. FNNs may take any route: the DEQ
must beat every one of them on every route. Starting at the answer is no training, so perturbed
constructions are told and not judged.

Losses below the rounding of the target are equal. On a sawtooth of slope 2^k an input that is
rounded by eps moves the output by 2^k eps, and networks of this size by a few times as much; on a
ramp of slope 2^d what is a difference of two states of size 2^d is known to 2^d eps:

    least = max(1e-26, (4 2^k eps)^2).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from deqlab.experiments.base import Outcome, Row, Verdict, summaries
from deqlab.experiments.comparing.evidence import WELL_SOLVED
from deqlab.intervals import Interval, paired_interval

LEAST = 1e-26
"""Of all losses, at any slope: the rounding of sums."""

WORST = 1e250
"""What a loss counts as that is not finite."""

LEARNED = 1e-6
"""A test loss below it has learned the target; constants have 0.083 on sawtooths, more on ramps."""

NOT_JUDGED = ("construction",)
"""Routes that start at the answer."""


@dataclass(frozen=True)
class Arm:
    """The summaries of one arm, one of each seed."""

    rows: tuple[Row, ...]

    @property
    def route(self) -> str:
        """Where it was trained."""
        return str(self.rows[0]["route"])

    @property
    def label(self) -> str:
        """What people call it."""
        return str(self.rows[0]["label"])

    @property
    def deq(self) -> bool:
        """Whether it is a DEQ."""
        return bool(self.rows[0]["family"] == "deq")

    @property
    def is_judged(self) -> bool:
        """Whether its route does not start at the answer."""
        return self.route not in NOT_JUDGED

    @property
    def losses(self) -> dict[int, float]:
        """Test losses by seed."""
        found = {row["seed"]: row["test_loss"] for row in self.rows}
        # What is not finite is null on disk.
        return {s: v if v is not None and math.isfinite(v) else WORST for s, v in found.items()}

    @property
    def median(self) -> float:
        """Of the test losses."""
        return median(self.losses.values())

    @property
    def learned(self) -> int:
        """Seeds whose network has learned the target."""
        return sum(loss < LEARNED for loss in self.losses.values())

    @property
    def converged(self) -> float:
        """Least share of test points at their equilibrium; FNNs have no other."""
        return float(min(row.get("converged", 1.0) for row in self.rows))

    def told(self) -> str:
        """Return losses in words."""
        values = list(self.losses.values())
        return (
            f"{self.median:.2g} ({min(values):.2g} to {max(values):.2g}; {self.learned} of "
            f"{len(values)} below {LEARNED:g})"
        )


def floor(log2_slope: int) -> float:
    """Return the loss below which all losses are equal."""
    return float(max(LEAST, (4 * 2.0**log2_slope * 2.0**-52) ** 2))


def best_of(arms: Sequence[Arm], least: float) -> Arm:
    """Return the arm of least median loss, the first of those below `least`."""
    return min(arms, key=lambda arm: max(arm.median, least))


def judge(
    rows: Sequence[Row],
    *,
    subject: str,
    least: float,
    recipes: Mapping[str, str],
    deep: int | None = None,
) -> Verdict:
    """Return whether the DEQ beats every FNN, all but some that tie, or not.

    Args:
        rows: With the summaries of all arms.
        subject: Where the sentence begins.
        least: The loss below which all losses are equal.
        recipes: Routes that encode what the target is, and what they encode.
        deep: Hidden layers from which on an FNN must tie with the DEQ on such a route, if it must.
    """
    arms = arms_of(rows)
    judged = [arm for arm in arms if arm.is_judged]
    deqs, fnns = [a for a in judged if a.deq], [a for a in judged if not a.deq]
    details = [_on_route(route, arms) for route in dict.fromkeys(arm.route for arm in arms)]
    if not deqs or not fnns:
        sentence = "No route that is judged has a DEQ, or none has an FNN; name more routes."
        return Verdict(outcome="undecided", sentence=sentence, details=tuple(details))
    best = best_of(deqs, least)
    gaps = {fnn.label: _gap(best, fnn, least) for fnn in fnns}
    tied = [label for label, gap in gaps.items() if gap.sign == 0]
    won = [fnn for fnn in fnns if gaps[fnn.label].sign < 0]
    lost = [label for label, gap in gaps.items() if gap.sign > 0]
    details += [f"Against {label}: {_factor(gap)}." for label, gap in gaps.items()]
    sentence = (
        f"{subject} the best trained DEQ, {best.label}, has a "
        f"median test loss of {best.told()}, and beats {len(won)} of {len(fnns)} FNNs of equal "
        f"training FLOPs or fewer{_learned_too(won)}{_named('ties with', tied)}"
        f"{_named('loses to', lost)}.{_deep_ties(best, arms, tied, deep, recipes)}"
        f"{_on_recipe(best, arms, recipes)}"
    )
    if best.converged < WELL_SOLVED:
        details.append(
            f"Only {100 * best.converged:.1f} % of the test points of {best.label} are at their "
            "equilibrium in the worst seed: it is no DEQ, and nothing is decided."
        )
    return Verdict(
        outcome=_outcome(best, won=len(won), lost=len(lost), tied=tied),
        sentence=sentence,
        details=tuple(details),
    )


def _outcome(best: Arm, *, won: int, lost: int, tied: Sequence[str]) -> Outcome:
    if best.converged < WELL_SOLVED:
        return "undecided"
    if lost or not won:
        return "does not hold here"
    return "holds partly" if tied else "holds"


def arms_of(rows: Sequence[Row]) -> list[Arm]:
    """Return all arms, from the summary rows."""
    found: dict[str, list[Row]] = {}
    for row in summaries(rows):
        found.setdefault(row["arm"], []).append(row)
    return [Arm(tuple(of)) for of in found.values()]


def _gap(deq: Arm, fnn: Arm, least: float) -> Interval:
    """Return log(loss of the DEQ / loss of the FNN) over the seeds that both have."""
    ours, theirs = deq.losses, fnn.losses
    logs = [
        math.log(max(ours[seed], least) / max(theirs[seed], least))
        for seed in ours
        if seed in theirs
    ]
    return paired_interval(logs)


def _factor(gap: Interval) -> str:
    result = {-1: "a win", 0: "a tie", 1: "a loss"}[gap.sign]
    low, estimate, high = (10.0 ** (v / math.log(10)) for v in (gap.low, gap.estimate, gap.high))
    return (
        f"{result}, {estimate:.2g} times its loss ({low:.2g} to {high:.2g} with confidence "
        f"{100 * gap.confidence:.0f} %)"
    )


def _learned_too(won: Sequence[Arm]) -> str:
    """Return how many wins are over networks that have learned it too, only less exactly."""
    learned = [arm for arm in won if arm.median < LEARNED]
    if not learned:
        return ""
    least, most = min(arm.median for arm in learned), max(arm.median for arm in learned)
    return (
        f", {len(learned)} of which have learned it too, with medians from {least:.2g} to "
        f"{most:.2g}"
    )


def _named(verb: str, labels: Sequence[str]) -> str:
    return f"; it {verb} {', '.join(labels)}" if labels else ""


def _on_recipe(best: Arm, arms: Sequence[Arm], recipes: Mapping[str, str]) -> str:
    """Return what is known beforehand where a recipe won that encodes the target."""
    if best.route not in recipes:
        return ""
    known = (*NOT_JUDGED, *recipes)
    others = [arm.median for arm in arms if arm.deq and arm.route not in known]
    without = f", and without it the DEQ's median is {min(others):.2g} at best" if others else ""
    return f" {best.route.capitalize()} encodes that {recipes[best.route]}{without}."


def _deep_ties(
    best: Arm,
    arms: Sequence[Arm],
    tied: Sequence[str],
    deep: int | None,
    recipes: Mapping[str, str],
) -> str:
    """Return what an FNN costs that ties because it is deep, on the same route."""
    if deep is None or best.route not in recipes:
        return ""
    same = [arm for arm in arms if arm.route == best.route and arm.label in tied]
    ties = [arm.rows[0]["step_flops"] for arm in same if arm.rows[0]["depth"] >= deep]
    if not ties:
        return ""
    cheapest = min(ties) / best.rows[0]["step_flops"]
    return (
        " An FNN as deep as k, grown the same way, ties with the DEQ, at "
        f"{cheapest:.2g} times its FLOPs a step."
    )


def _unsolved(arm: Arm) -> str:
    if arm.converged >= WELL_SOLVED:
        return ""
    return f", in the worst seed only {100 * arm.converged:.1f} % of its points solved"


def _on_route(route: str, arms: Sequence[Arm]) -> str:
    deqs = [arm for arm in arms if arm.deq and arm.route == route]
    fnns = [arm for arm in arms if not arm.deq and arm.route == route]
    parts = [f"{arm.label} {arm.told()}{_unsolved(arm)}" for arm in deqs]
    if fnns:
        best = min(fnns, key=lambda arm: arm.median)
        parts.append(f"at best {best.label} {best.told()}")
    return f"Route {route}: {'; '.join(parts)}."
