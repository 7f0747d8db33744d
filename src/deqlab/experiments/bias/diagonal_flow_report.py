"""The verdict of `diagonal-flow`: the closed form, and the density of its limit.

The claim holds if flow, prediction and a trained DEQ agree and the DEQ's limit is the densest both
from usual and from equal starts; partly if they agree, and not at all if they do not.
"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Outcome, Row, Verdict, summaries
from deqlab.experiments.bias.arms import ARMS, DEQS

AGREES = 0.01
"""Largest relative distance from the closed form that counts as agreement."""

STATIONARY, CONSERVED = 1e-6, 1e-8
"""Largest KKT residual of a limit, and largest drift of what a flow conserves."""

OTHERS = ("linear", "net")


def verdict(rows: Sequence[Row], *, scales: Sequence[float]) -> Verdict:
    """Return whether the closed form holds, and whether the DEQ is the densest model."""
    last = summaries(rows)
    trained = max(row["trained_error"] for row in last if row["arm"] in DEQS)
    kkt = max(row["kkt"] for row in last)
    error = max(row["prediction_error"] for row in last)
    drift = max(row["drift"] for row in last if "drift" in row)
    solved = min(row["converged"] for row in last if row["arm"] in DEQS)
    exact = kkt < STATIONARY and drift < CONSERVED and max(trained, error) < AGREES and solved == 1
    usual = {arm: [r["usual_density"] for r in last if r["arm"] == arm] for arm in ARMS}
    densest = _beats(usual)
    wins = {scale: _beats(_densities(rows, scale)) for scale in scales}
    always = densest and all(wins.values())
    outcome: Outcome = "does not hold here"
    if exact:
        outcome = "holds" if always else "holds partly"
    sentence = (
        f"The closed form {'holds' if exact else 'fails'}: a DEQ trained by gradient descent ends "
        f"within {100 * trained:.2g} % of it, the flow within {error:.1g}. From its usual start "
        f"(w = 0) the DEQ z = w z + x is {'the densest' if densest else 'not the densest'} "
        f"({_told(usual)}); from equal starts it is denser than linear regression and the diagonal "
        f"net at {sum(wins.values())} of {len(wins)} scales."
    )
    details = [
        f"KKT residual at most {kkt:.1g}, drift of u^2 + (1 - w)^2 and u^2 - v^2 at most "
        f"{drift:.1g}.",
        *(f"From s = {scale:g}: density {_told(_densities(rows, scale))}." for scale in scales),
    ]
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(details))


def _densities(rows: Sequence[Row], scale: float) -> dict[str, list[float]]:
    return {
        arm: [
            row["density"]
            for row in rows
            if row["kind"] == "point" and row["arm"] == arm and row["scale"] == scale
        ]
        for arm in ARMS
    }


def _beats(densities: dict[str, list[float]]) -> bool:
    """Whether the DEQ is denser than both others at every seed."""
    rivals = zip(densities["deq"], *(densities[arm] for arm in OTHERS), strict=True)
    return all(ours > max(theirs) for ours, *theirs in rivals)


def _told(densities: dict[str, list[float]]) -> str:
    return ", ".join(f"{arm} {median(of):.3f}" for arm, of in densities.items())
