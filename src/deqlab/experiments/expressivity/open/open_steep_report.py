"""What is told of `open-steep`: who wins, and how large weights are, which the paper's claim is on.

A feed-forward network (FNN) of L hidden layers within eps of a ramp of slope 2^d has

    max_l |W_l|_inf >= ((1 - 2 eps) 2^d)^(1 / (L + 1)),

whatever its width; see `expressivity.bounds`. A DEQ has the ramp with norms of at most 2. Each
network is told of on its best route, by its median test loss, of those that are judged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import number, with_range
from deqlab.experiments.expressivity.open import open_report
from deqlab.experiments.expressivity.open.losses import ArmLosses, best_of, floor, judged
from deqlab.experiments.expressivity.open.steep_routes import OpenSteepConfig
from deqlab.experiments.page import chart, column


def judge(config: OpenSteepConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ beats every FNN, and the norms."""
    d = config.log2_steepness
    least = floor(d)
    losses = open_report.judge(
        rows,
        subject=f"On a ramp of slope 2^{d}",
        least=least,
        recipes=dict.fromkeys(("steepening", "growth"), "a ramp of width delta / 2 is g(2 x)"),
    )
    return replace(
        losses,
        sentence=losses.sentence + compared_norms(rows, least),
        details=(*losses.details, *norms_by_network(rows, least)),
    )


def compared_norms(rows: Sequence[Row], least: float) -> str:
    """Return the norms of the best DEQ and the least of any FNN, where both learned the ramp.

    Args:
        rows: The rows of a run, with the summaries of all arms.
        least: The loss below which all losses are equal.
    """
    deqs = judged(rows, "deq")
    ours = _norms(best_of(deqs, least)) if deqs else []
    theirs = [norm for fnn in judged(rows, "fnn") for norm in _norms(fnn)]
    if not ours or not theirs:
        return ""
    return (
        f" Where it learned the ramp its largest infinity norm is {number(max(ours))} at most, and "
        f"that of an FNN that did {number(min(theirs))} at least."
    )


def norms_by_network(rows: Sequence[Row], least: float) -> Iterator[str]:
    """Yield the norms of each network on its best route, in words; see `compared_norms`."""
    networks: dict[str, list[ArmLosses]] = {}
    for arm in (*judged(rows, "deq"), *judged(rows, "fnn")):
        networks.setdefault(arm.first["network"], []).append(arm)
    for arms in networks.values():
        yield _told(best_of(arms, least))


def _norms(arm: ArmLosses) -> list[float]:
    return [row["norm"] for row in arm.learned]


def _told(arm: ArmLosses) -> str:
    learned = arm.learned
    told = f"{arm.first['label']} learned the ramp at {len(learned)} of {len(arm.rows)} seeds"
    if not learned:
        return f"{told}."
    told += f", with a largest infinity norm of {with_range(_norms(arm))}"
    if arm.first["family"] == "deq":
        return f"{told}."
    least = min(row["bound"] for row in learned)
    return f"{told}; {number(least)} is the least possible at this depth and error."


PAGE = open_report.page(
    losses="At slope 2^20 losses near 1e-19 are rounding, at 2^10 those near 1e-25.",
    stages="On the ramp of the stage itself, twice as steep as the one before: the tasks get "
    "harder to the right.",
    measured=(column("error", "largest error", better=None), "norm", "bound"),
    about=" The bound is the least norm that a feed-forward network of this depth and error can "
    "have.",
    charts=(
        chart(
            "summary",
            "norm",
            "test_loss",
            kind="scatter",
            title="Test loss against the size of weights",
            caption="A panel for each route; the largest infinity norm, a row sum of |entries|, of "
            "all weight matrices of a network.",
            panel_by="route",
        ),
    ),
)
