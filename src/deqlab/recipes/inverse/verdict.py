"""The verdict on networks that reconstruct: what becomes of a picture that is iterated on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import least_converged_deq, outcome, select
from deqlab.recipes.inverse.config import ReconstructionConfig
from deqlab.recipes.task import Metric
from deqlab.recipes.verdict import judge as judge_recipe

FLAT, FALLS = 0.1, 1.0
"""Decibels: by how much a DEQ may vary with iterations, and an unrolled network must lose."""


def judge(config: ReconstructionConfig, rows: Sequence[Row], *, metric: Metric) -> Verdict:
    """Return whether the DEQ is as good as unrolled networks, and stays so where they fall.

    A DEQ is iterated by its solver, and an unrolled network by its steps. One that has the cap of
    the DEQ ("capped") is told of, and not judged.

    Args:
        config: The config.
        rows: The rows of all arms.
        metric: What networks are compared by.
    """
    found = judge_recipe(config, rows, metric=metric, margin=0.0)
    solved = least_converged_deq(rows)
    of = partial(iterated, config, metric, rows)
    parts, details = [found.outcome == "holds"], []
    for arm in sorted({row["arm"] for row in select(rows)}):
        if arm.startswith("deq"):
            varies = median(max(values) - min(values) for values in of(arm, "solver_psnr"))
            parts.append(varies <= FLAT)
            details.append(
                f"From {config.unrolled} to {max(config.iterations)} iterations of its solver the "
                f"network {arm} varies by {varies:.2f} dB."
            )
        else:
            falls = median(values[0] - min(values) for values in of(arm, "psnr"))
            if arm.startswith("unrolled"):
                parts.append(falls >= FALLS)
            details.append(f"Over as many of its steps the network {arm} loses {falls:.2f} dB.")
    return replace(found, outcome=outcome(parts, solved=solved), details=(*found.details, *details))


def iterated(
    config: ReconstructionConfig, metric: Metric, rows: Sequence[Row], arm: str, field: str
) -> list[list[float]]:
    """Return a field from as many iterations on as unrolled networks have, seed by seed."""
    found: dict[int, list[float]] = {}
    for row in select(rows, "iterations", arm=arm):
        if row["iterations"] >= config.unrolled:
            # Null on disk: the network has left what numbers can be.
            value = metric.worst if row[field] is None else row[field]
            found.setdefault(row["seed"], []).append(value)
    return list(found.values())
