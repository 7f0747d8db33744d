"""The verdict on a picture as an equilibrium: near the explicit network, at a fraction of it."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    by_seed,
    least_converged_deq,
    median_of,
    outcome,
    percent,
    select,
)
from deqlab.recipes.picture.config import PictureConfig
from deqlab.recipes.task import Metric
from deqlab.recipes.verdict import judge as judge_recipe

NEAR, SHARE = 1.0, 0.3
"""How far below the explicit network the DEQ may be, in decibels, and its share of the weights."""


def judge(config: PictureConfig, rows: Sequence[Row], *, metric: Metric) -> Verdict:
    """Return whether the DEQ comes near, with few weights, and warm starts save evaluations.

    Args:
        config: The config.
        rows: The rows of all arms.
        metric: What networks are compared by.
    """
    found = judge_recipe(config, rows, metric=metric, margin=None)
    solved = least_converged_deq(rows)
    parts, details = [], []
    if select(rows, arm="layers"):
        ours, theirs = (
            median(by_seed(rows, metric.field, arm=arm, missing=metric.worst).values())
            for arm in ("deq", "layers")
        )
        weights = {arm: median_of(rows, "parameters", arm=arm) for arm in ("deq", "layers")}
        share = weights["deq"] / weights["layers"]
        parts.append(ours >= theirs - NEAR and share <= SHARE)
        details.append(
            f"The DEQ has {percent(share)} of the weights of {config.layers} sinusoidal layers, "
            f"and is {ours - theirs:+.2f} dB from them."
        )
    cold, warm = (
        median_of(rows, field, arm="deq") for field in ("test_evaluations", "warm_evaluations")
    )
    parts.append(warm < cold)
    details.append(
        f"At its last weights a solve takes {cold:g} evaluations from its own start, and {warm:g} "
        "from the states of the last epoch."
    )
    if select(rows, arm="deq-cold"):
        of = {arm: median_of(rows, "evaluations", arm=arm) for arm in ("deq", "deq-cold")}
        details.append(
            f"Over the last part of training it took {of['deq']:.3g} with warm starts, and "
            f"{of['deq-cold']:.3g} without."
        )
    return replace(found, outcome=outcome(parts, solved=solved), details=(*found.details, *details))
