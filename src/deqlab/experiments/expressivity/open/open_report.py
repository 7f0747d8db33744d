"""Whether a trained DEQ beats every FNN of equal training FLOPs, and what the report shows.

The DEQ's route is the one where its median test loss is least. FNNs may take any route: the DEQ
must beat every one of them on every route. Starting at the answer is no training, so perturbed
constructions are told and not judged.
"""

import math
from collections.abc import Mapping, Sequence

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing import evidence
from deqlab.experiments.comparing.evidence import WELL_SOLVED, percent, select
from deqlab.experiments.expressivity.open.losses import (
    LEARNED,
    ArmLosses,
    arms_of,
    best_of,
    judged,
)
from deqlab.experiments.page import Chart, Column, Page, chart, column, table
from deqlab.intervals import Interval, paired_interval


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
        rows: The rows of a run, with the summaries of all arms.
        subject: The beginning of the sentence.
        least: The loss below which all losses are equal.
        recipes: Routes that encode what the target is, and what they encode.
        deep: The number of hidden layers from which on an FNN must tie with the DEQ on such a
            route, if there is one.
    """
    deqs, fnns = judged(rows, "deq"), judged(rows, "fnn")
    details = [_on_route(rows, route) for route in {row["route"]: 0 for row in select(rows)}]
    if not deqs or not fnns:
        sentence = "No route that is judged has a DEQ, or none has an FNN; name more routes."
        return Verdict(outcome="undecided", sentence=sentence, details=tuple(details))
    best = best_of(deqs, least)
    gaps = [(fnn, _gap(best, fnn, least)) for fnn in fnns]
    won, tied, lost = ([fnn for fnn, gap in gaps if gap.sign == sign] for sign in (-1, 0, 1))
    details += [f"Against {fnn.first['label']}: {_factor(gap)}." for fnn, gap in gaps]
    sentence = (
        f"{subject} the best trained DEQ, {best.first['label']}, has a median test loss of "
        f"{best.told()}, and beats {len(won)} of {len(fnns)} FNNs of equal training FLOPs or fewer"
        f"{_learned_too(won)}{_named('ties with', tied)}{_named('loses to', lost)}."
    )
    if best.first["route"] in recipes:
        sentence += _deep_ties(best, tied, deep) + _encoded(best, deqs, recipes)
    if best.converged < WELL_SOLVED:
        details.append(
            f"Only {percent(best.converged)} of the test points of {best.first['label']} are at "
            "their equilibrium in the worst seed: it is no DEQ, and nothing is decided."
        )
    beaten = [gap.sign < 0 and not lost for _, gap in gaps]  # one loss is enough to fail
    outcome = evidence.outcome(beaten, solved=best.converged)
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(details))


def _gap(deq: ArmLosses, fnn: ArmLosses, least: float) -> Interval:
    """Return log(loss of the DEQ / loss of the FNN) over the seeds that both have."""
    ours, theirs = deq.losses, fnn.losses
    both = [seed for seed in ours if seed in theirs]
    return paired_interval([math.log(max(ours[s], least) / max(theirs[s], least)) for s in both])


def _factor(gap: Interval) -> str:
    result = {-1: "a win", 0: "a tie", 1: "a loss"}[gap.sign]
    low, estimate, high = map(math.exp, (gap.low, gap.estimate, gap.high))
    return (
        f"{result}, {estimate:.2g} times its loss ({low:.2g} to {high:.2g} with confidence "
        f"{100 * gap.confidence:.0f} %)"
    )


def _learned_too(won: Sequence[ArmLosses]) -> str:
    """Return how many wins are over networks that have learned it too, only less exactly."""
    medians = [arm.median for arm in won if arm.median < LEARNED]
    if not medians:
        return ""
    spread = f"from {min(medians):.2g} to {max(medians):.2g}"
    return f", {len(medians)} of which have learned it too, with medians {spread}"


def _named(verb: str, arms: Sequence[ArmLosses]) -> str:
    return f"; it {verb} {', '.join(arm.first['label'] for arm in arms)}" if arms else ""


def _deep_ties(best: ArmLosses, tied: Sequence[ArmLosses], deep: int | None) -> str:
    """Return what an FNN costs that ties because it is deep, on the same route."""
    same = [arm.first for arm in tied if arm.first["route"] == best.first["route"]]
    ties = [row["step_flops"] for row in same if deep is not None and row["depth"] >= deep]
    if not ties:
        return ""
    cheapest = min(ties) / best.first["step_flops"]
    return (
        " An FNN as deep as k, grown the same way, ties with the DEQ, at "
        f"{cheapest:.2g} times its FLOPs a step."
    )


def _encoded(best: ArmLosses, deqs: Sequence[ArmLosses], recipes: Mapping[str, str]) -> str:
    """Return what is known beforehand where a recipe won that encodes the target."""
    route: str = best.first["route"]
    others = [arm.median for arm in deqs if arm.first["route"] not in recipes]
    without = f", and without it the DEQ's median is {min(others):.2g} at best" if others else ""
    return f" {route.capitalize()} encodes that {recipes[route]}{without}."


def _on_route(rows: Sequence[Row], route: str) -> str:
    deqs, fnns = (arms_of(rows, route=route, family=family) for family in ("deq", "fnn"))
    parts = [f"{arm.first['label']} {arm.told()}" for arm in deqs]
    for index, arm in enumerate(deqs):
        if arm.converged < WELL_SOLVED:
            solved = percent(arm.converged)
            parts[index] += f", in the worst seed only {solved} of its points solved"
    if fnns:
        best = best_of(fnns)
        parts.append(f"at best {best.first['label']} {best.told()}")
    return f"Route {route}: {'; '.join(parts)}."


def page(
    *,
    losses: str,
    stages: str,
    measured: Sequence[str | Column],
    cost: str = "",
    about: str = "",
    charts: tuple[Chart, ...] = (),
) -> Page:
    """Return the page of an open problem.

    Args:
        losses: A sentence about the size of test losses.
        stages: A sentence about the target of each stage.
        measured: Columns of what else is measured.
        cost: Half a sentence about the cost of other steps than those of Levenberg-Marquardt.
        about: A sentence about `measured`.
        charts: More charts.
    """
    against_flops = chart(
        "summary",
        "flops",
        "test_loss",
        kind="scatter",
        title="Test loss against training FLOPs",
        caption=f"A panel for each route. {losses} Networks that no step helps any more stop "
        "early.",
        x_label="training FLOPs",
        panel_by="route",
    )
    over_stages = chart(
        "stage",
        "stage",
        "test_loss",
        title="Test loss at the end of each stage",
        caption=stages,
        panel_by="route",
    )
    networks = table(
        "summary",
        "test_loss",
        column("train_loss", "training loss", better=None),
        column("learned", format="percent"),
        *measured,
        "parameters",
        "step_flops",
        column("flops", "FLOPs in all", better=None),
        column("residual", "relative residual"),
        "converged",
        column("evaluations", "evaluations", format="integer"),
        title="Networks by route",
        caption="FLOPs a step are N (2 P^2 + 8 M) + P^3 / 3 for Levenberg-Marquardt, with N "
        f"training points, P parameters and M multiply-adds{cost}. Learned is the share of seeds "
        f"below 1e-6, by its median; the verdict has counts.{about}",
        mark_best=False,
    )
    return Page(charts=(against_flops, over_stages, *charts), tables=(networks,))
