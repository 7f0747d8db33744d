"""The verdict of `feature-density`: participation ratios of DEQs against an FNN's, seed by seed.

The claim holds if both DEQs are denser than the FNN at every seed, partly if one of them is, and
is undecided if a network was not at its equilibrium.
"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Outcome, Row, Verdict, summaries
from deqlab.experiments.bias.networks import LABELS
from deqlab.experiments.comparing.evidence import WELL_SOLVED


def verdict(rows: Sequence[Row], *, num_features: int, seeds: Sequence[int]) -> Verdict:
    """Return whether both DEQs are denser than the FNN, paired by seed."""
    last = summaries(rows)
    density = {arm: _by_seed(last, arm, "density") for arm in LABELS}
    wins = {
        arm: sum(density[arm][seed] > density["fnn"][seed] for seed in seeds)
        for arm in ("diagonal", "deq")
    }
    count = len(seeds)
    outcome: Outcome = "does not hold here"
    if min(wins.values()) == count:
        outcome = "holds"
    elif max(wins.values()) == count:
        outcome = "holds partly"
    solved = min(row["converged"] for row in last if "converged" in row)
    if solved < WELL_SOLVED:
        outcome = "undecided"
    told = ", ".join(f"{LABELS[arm]} {_range(density[arm])}" for arm in LABELS)
    gotu = ", ".join(f"{LABELS[arm]} {_range(_by_seed(last, arm, 'gotu_error'))}" for arm in LABELS)
    fits = {arm: max(_by_seed(last, arm, "train_loss").values()) for arm in LABELS}
    return Verdict(
        outcome=outcome,
        sentence=f"Participation ratio of {num_features} features, median (range) over {count} "
        f"{'seed' if count == 1 else 'seeds'}: {told}; the diagonal DEQ is denser than the FNN in "
        f"{wins['diagonal']}, the vanilla DEQ in {wins['deq']}.",
        details=(
            f"GOTU error: {gotu}.",
            "Training loss at most: "
            + ", ".join(f"{LABELS[arm]} {fit:.2g}" for arm, fit in fits.items())
            + ".",
            f"At test time {100 * solved:.1f} % of the points were at their equilibrium (in the "
            "worst job).",
            "The diagonal DEQ starts with all features at 1: see diagonal-flow for what its "
            "density owes to that.",
        ),
    )


def _by_seed(last: Sequence[Row], arm: str, field: str) -> dict[int, float]:
    # A network without a live feature has no density: it is the least dense there is.
    return {row["seed"]: row[field] or 0.0 for row in last if row["arm"] == arm}


def _range(values: dict[int, float]) -> str:
    of = list(values.values())
    return f"{median(of):.3g} ({min(of):.3g} to {max(of):.3g})"
