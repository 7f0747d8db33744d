"""The page and the verdict of `diagonal-flow`: the closed form, and the density of its limit.

The claim holds if flow, prediction and a trained DEQ agree and the DEQ's limit is the densest both
from usual and from equal starts; partly if they agree, and not at all if they do not.
"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import least_converged, outcome, select
from deqlab.experiments.page import Page, chart, column, table

DEQS = ("deq", "gated")
"""The arms that are trained as modules too."""

RIVALS = ("linear", "net")
"""The arms that the DEQ "deq" is compared with."""

AGREES = 0.01
"""The largest relative distance from the closed form that counts as agreement."""

STATIONARY, CONSERVED = 1e-6, 1e-8
"""The largest KKT residual of a limit, and the largest drift of what a flow conserves."""

PAGE = Page(
    charts=(
        chart(
            "point",
            "scale",
            "density",
            title="Density of the limit against the start",
            caption="Participation ratio of the coefficients; all start at s (1, .., 1).",
            y_label="density of the limit",
        ),
        chart(
            "point",
            "scale",
            "prediction_error",
            title="Distance of the flow from the predicted limit",
            caption="Relative; the prediction solves a constrained minimisation.",
            y_label="relative distance",
            y_scale="log",
        ),
    ),
    tables=(
        table(
            "summary",
            column("kkt", "KKT residual"),
            column("prediction_error", "flow, distance"),
            column("drift", "drift of the conserved"),
            column("trained_error", "trained, distance", format="percent"),
            column("trained_steps", "steps", format="integer"),
            column("residual", "solve residual"),
            "converged",
            title="Closed form against flow and training",
            caption="Worst start of each seed; trained from s = 1 (w = 0) by gradient descent, "
            "its coefficients measured as answers of the network.",
        ),
        table(
            "summary",
            column("usual_scale", "start s"),
            column("usual_density", "density"),
            title="Density from the usual start",
            caption="DEQ w = 0; with input weights u = 0; regression 0; net u = v = 0.1.",
        ),
        table(
            "point",
            "density",
            title="Density from equal starts",
            caption="By model and start.",
            by="scale",
        ),
    ),
)


def verdict(rows: Sequence[Row], *, scales: Sequence[float]) -> Verdict:
    """Return whether the closed form holds, and whether the DEQ is the densest model."""
    last = select(rows)
    trained = max(row["trained_error"] for row in last if row["arm"] in DEQS)
    kkt = max(row["kkt"] for row in last)
    error = max(row["prediction_error"] for row in last)
    drift = max(row["drift"] for row in last if "drift" in row)
    exact = kkt < STATIONARY and drift < CONSERVED and max(trained, error) < AGREES
    exact = exact and least_converged(rows) == 1
    usual = _by_arm(last, "usual_density")
    at = {scale: _by_arm(select(rows, "point", scale=scale), "density") for scale in scales}
    wins = [_is_densest(densities) for densities in at.values()]
    densest = _is_densest(usual)
    sentence = (
        f"The closed form {'holds' if exact else 'fails'}: a DEQ trained by gradient descent ends "
        f"within {100 * trained:.2g} % of it, the flow within {error:.1g}. From its usual start "
        f"(w = 0) the DEQ z = w z + x is {'the densest' if densest else 'not the densest'} "
        f"({_told(usual)}); from equal starts it is denser than linear regression and the diagonal "
        f"net at {sum(wins)} of {len(wins)} scales."
    )
    details = [
        f"KKT residual at most {kkt:.1g}, drift of u^2 + (1 - w)^2 and u^2 - v^2 at most "
        f"{drift:.1g}.",
        *(f"From s = {scale:g}: density {_told(densities)}." for scale, densities in at.items()),
    ]
    return Verdict(
        outcome=outcome([exact, exact and densest and all(wins)]),
        sentence=sentence,
        details=tuple(details),
    )


def _by_arm(rows: Sequence[Row], field: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["arm"], []).append(row[field])
    return found


def _is_densest(densities: dict[str, list[float]]) -> bool:
    """Whether the DEQ is denser than both others at every seed."""
    rivals = zip(densities["deq"], *(densities[arm] for arm in RIVALS), strict=True)
    return all(ours > max(theirs) for ours, *theirs in rivals)


def _told(densities: dict[str, list[float]]) -> str:
    return ", ".join(f"{arm} {median(of):.3f}" for arm, of in densities.items())
