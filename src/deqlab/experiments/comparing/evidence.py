"""Evidence for a verdict: rows that are selected, summed up in words, and weighed.

A claim has parts, such as one for each data set or each competitor. It holds if all of its parts
hold, partly if some do, and does not if none does. Where a DEQ was off its equilibrium it is no
DEQ, and nothing is decided.
"""

from collections.abc import Callable, Collection, Iterable
from statistics import median

from deqlab.experiments.base import Outcome, Row
from deqlab.intervals import Interval

WELL_SOLVED = 0.99
"""The share of samples at their equilibrium below which a network is not called a DEQ."""

Show = Callable[[float], str]
"""Writes a number."""


def select(rows: Iterable[Row], kind: str = "summary", **fields: object) -> list[Row]:
    """Return the rows of one kind whose fields have these values."""
    wanted = {"kind": kind, **fields}.items()
    return [row for row in rows if all(row.get(name) == value for name, value in wanted)]


def by_seed(
    rows: Iterable[Row],
    field: str,
    *,
    kind: str = "summary",
    missing: float | None = None,
    **fields: object,
) -> dict[int, float]:
    """Return the values of a field by seed, of the rows that `select` returns.

    Args:
        rows: The rows of a run.
        field: The field.
        kind: The kind of rows.
        missing: What stands for a value that is null, as one that is not finite is on disk; None
            leaves it out.
        fields: The values of other fields.
    """
    found = {row["seed"]: row[field] for row in select(rows, kind, **fields)}
    filled = {seed: missing if value is None else value for seed, value in found.items()}
    return {seed: value for seed, value in filled.items() if value is not None}


def median_of(rows: Iterable[Row], field: str, kind: str = "summary", **fields: object) -> float:
    """Return the median of a field over the rows that `select` returns."""
    return float(median(row[field] for row in select(rows, kind, **fields)))


def arms_of(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the first summary row of each arm by its name, in the order of the rows."""
    found: dict[str, Row] = {}
    for row in select(rows):
        found.setdefault(row["arm"], row)
    return found


def least_converged(rows: Iterable[Row]) -> float:
    """Return the share of samples at their equilibrium in the worst job; 1 if nothing is solved."""
    shares = (row.get("converged") for row in select(rows))
    return min((share for share in shares if share is not None), default=1.0)


def least_converged_deq(rows: Iterable[Row]) -> float:
    """Return `least_converged` of the DEQs of a recipe: arms whose names begin with "deq".

    Others may be solved as well, such as unrolled networks that are iterated past training, and
    promise nothing.
    """
    return least_converged(row for row in rows if row["arm"].startswith("deq"))


def outcome(parts: Collection[bool], *, enough: int = 1, solved: float = 1.0) -> Outcome:
    """Return what follows for a claim from its parts.

    Args:
        parts: Whether each part holds; with none of them nothing is decided.
        enough: How many parts must hold for the claim to hold partly.
        solved: The share of samples at their equilibrium; below WELL_SOLVED nothing is decided.
    """
    if solved < WELL_SOLVED or not parts:
        return "undecided"
    if all(parts):
        return "holds"
    return "holds partly" if sum(parts) >= enough else "does not hold here"


def number(value: float) -> str:
    """Write a number with three digits."""
    return f"{value:.3g}"


def percent(share: float) -> str:
    """Write a share in percent with one digit after the point."""
    return f"{100 * share:.1f} %"


def with_range(values: Collection[float], show: Show = number, *, unit: str = "") -> str:
    """Return the median with the range, such as "0.5 (0.25 to 1)"."""
    middle, low, high = (show(v) for v in (median(values), min(values), max(values)))
    return f"{middle}{unit} ({low} to {high})"


def interval(found: Interval, show: Show = number) -> str:
    """Return an interval with its confidence, such as " (95 % interval 0.25 to 1)".

    The text begins with a space, to stand behind the estimate, and is empty where there is one
    difference only and so no interval.
    """
    if found.confidence == 0:
        return ""
    ends = f"{show(found.low)} to {show(found.high)}"
    return f" ({100 * found.confidence:.0f} % interval {ends})"


def seeds_in_words(count: int) -> str:
    """Return "1 seed", "8 seeds"."""
    return f"{count} {'seed' if count == 1 else 'seeds'}"
