"""The verdict of `constructions`.

A construction is exact if its largest error is 0, its regions are as many as they should be, and
all of its points are at their equilibrium. The claim holds if all of them are exact, partly if some
are. What random networks and bounds show is told beside it, and decides nothing.
"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Outcome, Row, Verdict, summaries

RAMP = "deq-ramp"
"""The arm whose norms are held against the bounds."""

ERROR = 0.1
"""Of the FNNs whose norms are bounded: a tenth of the height of the ramp."""


def verdict(
    rows: Sequence[Row], *, log2_regions: int, log2_steepness: int, depth: int, width: int
) -> Verdict:
    """Return whether all constructions are exact, with exactly as many regions as they should.

    Args:
        rows: Of all jobs.
        log2_regions: The largest k of a sawtooth.
        log2_steepness: The largest d of a ramp.
        depth: Of the deepest FNNs.
        width: Of the widest random networks.
    """
    built = [row for row in summaries(rows) if row["exact"] is not None]
    exact = [row for row in built if row["exact"]]
    worst = max(row["error"] for row in built)
    sentence = (
        f"{len(exact)} of {len(built)} constructions are exact in float64 and have exactly the "
        f"regions they should, 2^k of sawtooths up to k = {log2_regions}, ramps up to a slope of "
        f"2^{log2_steepness}; the largest error is {worst:.3g}."
    )
    outcome: Outcome = "holds partly" if exact else "does not hold here"
    if len(exact) == len(built):
        outcome = "holds"
    details = (
        *(_on_a_failure(row) for row in built if not row["exact"]),
        _on_norms(rows, log2_steepness, depth),
        _on_random(rows, width, depth),
    )
    return Verdict(outcome=outcome, sentence=sentence, details=details)


def _on_a_failure(row: Row) -> str:
    told = f"{row['label']}: error {row['error']:.3g}, {row['miscounts']} wrong counts"
    if row["converged"] is None:
        return f"{told}."
    return f"{told}, {100 * row['converged']:.1f} % of its points at their equilibrium."


def _on_norms(rows: Sequence[Row], d: int, depth: int) -> str:
    steepest = [row for row in rows if row["kind"] == "ramp" and row["d"] == d]
    norms = {row["arm"]: row["infinity_norm"] for row in steepest}
    return (
        f"At a slope of 2^{d} the ramp's largest infinity norm is {norms[RAMP]:.3g}; an FNN "
        f"of depth {depth} within {ERROR} of it needs at least {norms[f'bound-{depth}']:.3g}."
    )


def _on_random(rows: Sequence[Row], width: int, depth: int) -> str:
    shares = [
        row["share_of_bound"]
        for row in rows
        if row["kind"] == "random" and row["width"] == width and row["arm"] == f"fnn-random-{depth}"
    ]
    return (
        f"A random FNN of depth {depth} and width {width} has {100 * median(shares):.2g} % of the "
        "regions that the bound allows, in the median over seeds."
    )
