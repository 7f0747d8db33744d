"""How large the weights of the networks are that learned the ramp: what the paper's claim is about.

A feed-forward network (FNN) of L hidden layers within eps of a ramp of slope 2^d has

    max_l |W_l|_inf >= ((1 - 2 eps) 2^d)^(1 / (L + 1)),

whatever its width; see `expressivity.bounds`. A DEQ has the ramp with norms of at most 2.
"""

from collections.abc import Sequence
from statistics import median

from deqlab.experiments.base import Row, summaries
from deqlab.experiments.expressivity.open.verdict import LEARNED, NOT_JUDGED
from deqlab.expressivity import smallest_infinity_norm


def told(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the norms of each network that learned the ramp on a route that is judged."""
    found: dict[str, list[Row]] = {}
    for row in summaries(rows):
        loss = row["test_loss"]  # null on disk if it is not finite
        if row["route"] not in NOT_JUDGED and loss is not None and loss < LEARNED:
            found.setdefault(row["network"], []).append(row)
    if not found:
        return ("No network learned the ramp on a route that is judged: there are no norms.",)
    return tuple(_sentence(name, of) for name, of in found.items())


def _sentence(name: str, rows: Sequence[Row]) -> str:
    norms = [row["norm"] for row in rows]
    count = "1 time" if len(rows) == 1 else f"{len(rows)} times"
    bound = ""
    if rows[0]["family"] == "fnn":
        bound = f", where {_bound(rows):.3g} is the least possible at this depth and error"
    return (
        f"{name} learned it {count}, with a largest infinity norm of {median(norms):.3g} "
        f"({min(norms):.3g} to {max(norms):.3g}){bound}."
    )


def _bound(rows: Sequence[Row]) -> float:
    """Return the lower bound of all these networks, which have one depth."""
    row = rows[0]
    return smallest_infinity_norm(
        run=2.0 ** -row["log2_steepness"],
        depth=row["depth"],
        error=max(row["error"] for row in rows),
    )
