"""The verdict on a recipe: did the DEQ stay one, and what was it worth?"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.comparison import result_of
from deqlab.experiments.comparing.contest import contest
from deqlab.experiments.comparing.evidence import (
    WELL_SOLVED,
    arms_of,
    by_seed,
    interval,
    least_converged_deq,
    outcome,
    percent,
    seeds_in_words,
    select,
    with_range,
)
from deqlab.intervals import paired_interval
from deqlab.recipes.config import RecipeConfig
from deqlab.recipes.task import Metric
from deqlab.runs.records import Rival


def judge(
    config: RecipeConfig, rows: Sequence[Row], *, metric: Metric, margin: float | None
) -> Verdict:
    """Return whether the DEQ stays at its equilibrium, and is not beaten by more than `margin`.

    Args:
        config: The config, which says what was trained on.
        rows: The rows of all arms.
        metric: What networks are compared by.
        margin: By how much the median of a twin may be better; None promises no order.
    """
    arms = arms_of(rows)
    solved = least_converged_deq(rows)
    ours = by_seed(rows, metric.field, arm="deq", missing=metric.worst)
    deqs = select(rows, arm="deq")
    evaluations = [row["test_evaluations"] for row in deqs]
    details, gains = [], []
    parts = [True]  # it is at its equilibrium, or `outcome` decides nothing
    for arm, row in arms.items():
        if arm == "deq":
            continue
        theirs = by_seed(rows, metric.field, arm=arm, missing=metric.worst)
        ahead = metric.gain(median(ours.values()), median(theirs.values()))
        if margin is not None and row["matching"] is not None:
            parts.append(ahead >= -margin)
        differences = [ours[seed] - theirs[seed] for seed in theirs]
        gain = paired_interval(differences)
        details.append(
            f"{row['label']}: {with_range(list(theirs.values()), metric.show, unit=metric.unit)}"
            f"{_state(rows, arm)}; DEQ less this {metric.show_gap(gain.estimate)}"
            f"{metric.gap_unit}{interval(gain, metric.show_gap)}."
        )
        leads = differences if metric.higher else [-each for each in differences]
        gains.append((_rival(row, leads), leads))
    slipped = sum(row.get("slips", 0) for row in deqs)
    details.append(f"Its log saw {slipped} windows of steps in which too few samples converged.")
    where = "at its equilibrium" if solved >= WELL_SOLVED else "OFF its equilibrium: it is no DEQ"
    reached = with_range(list(ours.values()), metric.show, unit=metric.unit)
    sentence = (
        f"On {config.subject}, the DEQ reaches {metric.name} of {reached} over "
        f"{seeds_in_words(len(ours))} with {percent(solved)} of the test samples converged (in the "
        f"worst seed) in {median(evaluations):.3g} evaluations, {where}."
    )
    unit = f"{metric.field.replace('_', ' ')}: by how much the DEQ is better"
    return Verdict(
        outcome=outcome(parts, solved=solved),
        sentence=sentence,
        details=tuple(details),
        contest=contest(unit, 0.0, gains, solved=solved) if gains else None,
    )


def promised(what: str, margin: float) -> str:
    """Return what `judge` asks of the medians of a DEQ and its twins, in words.

    Args:
        what: What they do, such as "classifies".
        margin: As in `judge`, of a metric in per cent.

    Example:
        >>> promised("classifies", 0.005)
        'classifies as well as explicit networks of equal cost, or at most 0.5 points worse'
        >>> promised("imitates", 0.0)
        'imitates at least as well as explicit networks of equal cost'
    """
    if not margin:
        return f"{what} at least as well as explicit networks of equal cost"
    points = f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
    return f"{what} as well as explicit networks of equal cost, or at most {points} worse"


def _rival(row: Row, leads: Sequence[float]) -> Rival:
    """Return a rival from its summary row and by how much the DEQ is better at each seed."""
    lead = paired_interval(leads)
    return Rival(
        label=row["label"],
        group="" if row["matching"] is None else f"equal {row['matching']}",
        result=result_of(lead, len(leads)),
        estimate=lead.estimate,
        low=lead.low,
        high=lead.high,
        confidence=lead.confidence,
    )


def _state(rows: Sequence[Row], arm: str) -> str:
    """Return the converged share of an arm that has a cell, in words."""
    shares = [row["converged"] for row in select(rows, arm=arm) if "converged" in row]
    return f" with {percent(min(shares))} converged" if shares else ""
