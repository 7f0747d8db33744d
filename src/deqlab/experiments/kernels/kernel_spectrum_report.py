"""The verdict of `kernel-spectrum`: how near the equivalent is to the exact kernel, data by data.

On one data set the equivalent has the spectrum if its leading eigenvalues, and the median of all,
are right within a tenth and its leading eigenvectors lie in their space to 0.9, medians over seeds.
The claim holds if so on all, partly on some.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from deqlab.experiments.base import Row, Verdict

NEAR, ALIGNED = 0.1, 0.9

_NETWORKS = ("exact", "matched", "plain")
"""Arms that are kernels of networks, which can be built and timed."""


def verdict(
    rows: Sequence[Row], *, data: Sequence[str], subject: str, num_seeds: int, width: int
) -> Verdict:
    """Return whether leading eigenvalues and eigenvectors are those of the exact kernel.

    Args:
        rows: Of kind "spectrum".
        data: Names of the data sets.
        subject: The kernel, in words.
        num_seeds: Draws of each data set.
        width: Of the networks that were timed.
    """
    measured = [row for row in rows if row["kind"] == "spectrum"]
    good, details = 0, []
    for name in data:
        here = [row for row in measured if row["data"] == name]
        error, bulk, aligned = (
            _median(here, "equivalent", field)
            for field in ("leading_error", "bulk_error", "alignment")
        )
        good += max(error, bulk) <= NEAR and aligned >= ALIGNED
        details.append(
            f"{name}: leading eigenvalues of the equivalent within {error:.1%}, the eigenvectors "
            f"aligned to {aligned:.3f} or more; eigenvalues off by {bulk:.1%} in the median."
        )
        details.append(
            f"{name}: relative spectral error {_median(here, 'equivalent', 'error'):.2g} of the "
            f"equivalent, {_median(here, 'matched', 'error'):.1e} of the matched network, "
            f"{_median(here, 'plain', 'error'):.2g} of the plain one."
        )
        costed = [row for row in here if "flops" in row]
        if len(costed) == len(_NETWORKS) * num_seeds:
            flops_saved, seconds_saved = (
                _median(here, "exact", field) / _median(here, "matched", field)
                for field in ("flops", "inference_seconds")
            )
            details.append(
                f"{name}: at width {width} the DEQ takes {flops_saved:.1f} times the FLOPs of the "
                f"matched network, and {seconds_saved:.1f} times its time."
            )
    where, has = f"On {good} of {len(data)} data sets", "has"
    if len(data) == 1:
        where, has = f"On {Path(data[0]).name}", "has" if good else "has not"
    sentence = (
        f"{where} {subject} {has} the spectrum of the exact one: leading eigenvalues, and half of "
        f"all, within {NEAR:.0%}, and leading eigenvectors in their space to {ALIGNED:g}."
    )
    if good == len(data):
        return Verdict(outcome="holds", sentence=sentence, details=tuple(details))
    return Verdict(
        outcome="holds partly" if good else "does not hold here",
        sentence=sentence,
        details=tuple(details),
    )


def _median(rows: Sequence[Row], arm: str, field: str) -> float:
    return float(median(row[field] for row in rows if row["arm"] == arm))
