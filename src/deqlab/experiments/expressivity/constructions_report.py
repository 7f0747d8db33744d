"""The page and the verdict of `constructions`.

A construction is exact if its largest error is 0, its regions are as many as they should be, and
all of its points are at their equilibrium. The claim holds if all of them are exact, partly if some
are. What random networks and bounds show is told beside it, and decides nothing.
"""

from collections.abc import Sequence

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import median_of, number, outcome, percent, select
from deqlab.experiments.page import Page, chart, column, table

RAMP = "deq-ramp"
"""The arm whose norms are held against the bounds."""

ERROR = 0.1
"""The error of the FNNs whose norms are bounded: a tenth of the height of the ramp."""

_SOLVED = ("infinity_norm", "residual", "converged", column("evaluations", format="integer"))

PAGE = Page(
    charts=(
        chart(
            "sawtooth",
            "k",
            "regions",
            title="Linear regions of exact sawtooths",
            caption="Counted on [0, 1]. The DEQs have width k and 2k, the exact FNN has depth k; "
            "the bounds are the most regions that FNNs of width k and fixed depth can have.",
        ),
        chart(
            "ramp",
            "d",
            "infinity_norm",
            title="Largest infinity norm against steepness",
            caption="Of all weight matrices, biases left out. The DEQ is a ramp of slope 2^d "
            "exactly; the bounds are the least that an FNN needs to be within 0.1 of it.",
        ),
        chart(
            "random",
            "width",
            "regions",
            title="Linear regions of random networks",
            caption="Counted on [-1, 1], before any training, with the initialisation of "
            "deqlab.nn; the bounds are the most that FNNs of that width can have.",
        ),
    ),
    tables=(
        table(
            "sawtooth",
            column("error", "largest error"),
            "regions",
            column("expected", "2^k", format="integer"),
            *_SOLVED,
            title="Exact sawtooths",
            caption="By construction and k: largest error at random points in float64, regions "
            "counted, and how the equilibria were solved.",
            by="k",
        ),
        table(
            "ramp",
            column("error", "largest error"),
            "regions",
            *_SOLVED,
            title="Exact ramps",
            caption="By d: largest error at points half of which are within 4 delta of the step.",
            by="d",
        ),
        table(
            "random",
            column("regions", format="number"),
            column("share_of_bound", "share of the bound", format="percent"),
            title="Random networks",
            caption="By width: regions on [-1, 1], and as a share of the most that there can be.",
            by="width",
        ),
    ),
)


def verdict(
    rows: Sequence[Row], *, log2_regions: int, log2_steepness: int, depth: int, width: int
) -> Verdict:
    """Return whether all constructions are exact, with exactly as many regions as they should.

    Args:
        rows: The rows of all jobs.
        log2_regions: The largest k of a sawtooth.
        log2_steepness: The largest d of a ramp.
        depth: The depth of the deepest FNNs.
        width: The width of the widest random networks.
    """
    built = [row for row in select(rows) if row["exact"] is not None]
    exact = [row for row in built if row["exact"]]
    worst = max(row["error"] for row in built)
    sentence = (
        f"{len(exact)} of {len(built)} constructions are exact in float64 and have exactly the "
        f"regions they should, 2^k of sawtooths up to k = {log2_regions}, ramps up to a slope of "
        f"2^{log2_steepness}; the largest error is {number(worst)}."
    )
    details = (
        *(_on_a_failure(row) for row in built if not row["exact"]),
        _on_norms(rows, log2_steepness, depth),
        _on_random(rows, width, depth),
    )
    return Verdict(
        outcome=outcome([row["exact"] for row in built]), sentence=sentence, details=details
    )


def _on_a_failure(row: Row) -> str:
    told = f"{row['label']}: error {number(row['error'])}, {row['miscounts']} wrong counts"
    if row["converged"] is None:
        return f"{told}."
    return f"{told}, {percent(row['converged'])} of its points at their equilibrium."


def _on_norms(rows: Sequence[Row], d: int, depth: int) -> str:
    norms = {row["arm"]: row["infinity_norm"] for row in select(rows, "ramp", d=d)}
    return (
        f"At a slope of 2^{d} the ramp's largest infinity norm is {number(norms[RAMP])}; an FNN "
        f"of depth {depth} within {ERROR} of it needs at least {number(norms[f'bound-{depth}'])}."
    )


def _on_random(rows: Sequence[Row], width: int, depth: int) -> str:
    share = median_of(rows, "share_of_bound", "random", width=width, arm=f"fnn-random-{depth}")
    return (
        f"A random FNN of depth {depth} and width {width} has {100 * share:.2g} % of the "
        "regions that the bound allows, in the median over seeds."
    )
