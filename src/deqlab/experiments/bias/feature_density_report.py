"""The page and the verdict of `feature-density`: participation ratios of DEQs against an FNN's.

The claim holds if both DEQs are denser than the FNN at every seed, partly if one of them is, and
is undecided if a network was not at its equilibrium.
"""

from collections.abc import Callable, Sequence

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    by_seed,
    least_converged,
    outcome,
    percent,
    seeds_in_words,
    with_range,
)
from deqlab.experiments.page import Page, chart, column, table

LABELS = {
    "diagonal": "Diagonal linear DEQ",
    "deq": "Vanilla DEQ",
    "fnn": "FNN, one hidden layer",
}

PAGE = Page(
    charts=(
        chart(
            "feature",
            "rank",
            "magnitude",
            kind="heatmap",
            title="Feature magnitudes",
            caption="Mean share of each feature in the answer on unseen points, in descending "
            "order, relative to the largest.",
            x_label="feature, by rank",
        ),
        chart(
            "feature",
            "rank",
            "magnitude",
            title="Feature magnitudes by rank",
            caption="The same numbers: the flatter, the denser.",
            x_label="feature, by rank",
            y_label="magnitude, of the largest",
        ),
    ),
    tables=(
        table(
            "summary",
            "density",
            column("activity_density", "of features"),
            column("train_loss", better=None),
            column("seen_loss", better="lower"),
            column("gotu_error", "GOTU error", better="lower"),
            "steps",
            "residual",
            "converged",
            title="Density and generalisation",
            caption="Participation ratio of the shares in the answer, and of the features "
            "without their weights; mean squared errors.",
        ),
    ),
)


def verdict(rows: Sequence[Row], *, num_features: int, seeds: Sequence[int]) -> Verdict:
    """Return whether both DEQs are denser than the FNN, paired by seed."""
    # A network without a live feature has no density: it is the least dense there is.
    density = {arm: by_seed(rows, "density", arm=arm, missing=0.0) for arm in LABELS}
    wins = {
        arm: sum(density[arm][seed] > density["fnn"][seed] for seed in seeds)
        for arm in ("diagonal", "deq")
    }
    count, solved = len(seeds), least_converged(rows)
    ratios = _each(lambda arm: with_range(density[arm].values()))
    gotu = _each(lambda arm: with_range(by_seed(rows, "gotu_error", arm=arm).values()))
    fits = _each(lambda arm: f"{max(by_seed(rows, 'train_loss', arm=arm).values()):.2g}")
    return Verdict(
        outcome=outcome([won == count for won in wins.values()], solved=solved),
        sentence=f"Participation ratio of {num_features} features, median (range) over "
        f"{seeds_in_words(count)}: {ratios}; the diagonal DEQ is denser than the FNN in "
        f"{wins['diagonal']}, the vanilla DEQ in {wins['deq']}.",
        details=(
            f"GOTU error: {gotu}.",
            f"Training loss at most: {fits}.",
            f"At test time {percent(solved)} of the points were at their equilibrium (in the "
            "worst job).",
            "The diagonal DEQ starts with all features at 1: see diagonal-flow for what its "
            "density owes to that.",
        ),
    )


def _each(told: Callable[[str], str]) -> str:
    return ", ".join(f"{label} {told(arm)}" for arm, label in LABELS.items())
