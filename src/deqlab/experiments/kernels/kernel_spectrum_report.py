"""The page and the verdict of `kernel-spectrum`: how near the equivalent is to the exact kernel.

On one data set the equivalent has the spectrum if its leading eigenvalues, and the median of all,
are right within a tenth and its leading eigenvectors lie in their space to 0.9, medians over seeds.
The claim holds if so on all, partly on some.
"""

from collections.abc import Sequence
from pathlib import Path

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import median_of, outcome, select
from deqlab.experiments.page import Page, chart, column, table

SPECTRA = {
    "exact": "DEQ, exact",
    "equivalent": "DEQ, high-dimensional equivalent",
    "matched": "matched explicit network",
    "plain": "plain explicit network",
}

NEAR, ALIGNED = 0.1, 0.9

_NETWORKS = ("exact", "matched", "plain")
"""The arms that are kernels of networks, which can be built and timed."""

PAGE = Page(
    charts=(
        chart(
            "eigenvalue",
            "rank",
            "eigenvalue",
            title="Eigenvalues by rank",
            caption="Of the kernel on the samples, in descending order: spikes stand on the left.",
            x_scale="log",
            panel_by="data",
        ),
        chart(
            "bin",
            "eigenvalue",
            "share",
            title="Histogram of the eigenvalues",
            caption="Share of the eigenvalues by size, in bins that grow geometrically.",
            y_label="share of eigenvalues",
            panel_by="data",
        ),
        chart(
            "leading",
            "rank",
            "alignment",
            title="Alignment of the leading eigenvectors",
            caption="Length of each in the space of the exact leading ones; 1 is inside.",
            panel_by="data",
        ),
    ),
    tables=(
        table(
            "spectrum",
            "error",
            column("leading_error", "leading eigenvalues", format="percent", better="lower"),
            "alignment",
            column("bulk_error", "median eigenvalue", format="percent", better="lower"),
            column("seconds", "spectrum"),
            "flops",
            "inference_seconds",
            title="Against the exact kernel, and what a network costs",
            caption="Relative spectral error, largest relative error of a leading eigenvalue, "
            "least alignment, median relative error of an eigenvalue; seconds for the spectrum; "
            "cost of a network of finite width on all samples.",
            by="data",
        ),
        table(
            "leading",
            "eigenvalue",
            "alignment",
            title="Leading eigenvalues",
            caption="By data and rank: one for each class, and one for the norms of the samples.",
            by="which",
        ),
    ),
)


def share(error: float) -> str:
    """Write a relative error in percent; one above ten times the value says no more than that."""
    return f"{error:.1%}" if error <= 10 else "more than ten times their size"


def verdict(
    rows: Sequence[Row], *, data: Sequence[str], subject: str, num_seeds: int, width: int
) -> Verdict:
    """Return whether leading eigenvalues and eigenvectors are those of the exact kernel.

    Args:
        rows: The rows of kind "spectrum".
        data: The names of the data sets.
        subject: The kernel, in words.
        num_seeds: How many draws of each data set there are.
        width: The width of the networks that were timed.
    """
    good, details = [], []
    for name in data:
        here = select(rows, "spectrum", data=name)

        def of(arm: str, field: str, here: Sequence[Row] = here) -> float:
            return median_of(here, field, "spectrum", arm=arm)

        error, bulk = of("equivalent", "leading_error"), of("equivalent", "bulk_error")
        aligned = of("equivalent", "alignment")
        good.append(max(error, bulk) <= NEAR and aligned >= ALIGNED)
        details += [
            f"{name}: leading eigenvalues of the equivalent within {share(error)}, the "
            f"eigenvectors aligned to {aligned:.3f} or more; eigenvalues off by {share(bulk)} in "
            "the median.",
            f"{name}: relative spectral error {of('equivalent', 'error'):.2g} of the "
            f"equivalent, {of('matched', 'error'):.1e} of the matched network, "
            f"{of('plain', 'error'):.2g} of the plain one.",
        ]
        if sum("flops" in row for row in here) == len(_NETWORKS) * num_seeds:
            saved, faster = (
                of("exact", field) / of("matched", field)
                for field in ("flops", "inference_seconds")
            )
            details.append(
                f"{name}: at width {width} the DEQ takes {saved:.1f} times the FLOPs of the "
                f"matched network, and {faster:.1f} times its time."
            )
    where, has = f"On {sum(good)} of {len(data)} data sets", "has"
    if len(data) == 1:
        where, has = f"On {Path(data[0]).name}", "has" if good[0] else "has not"
    sentence = (
        f"{where} {subject} {has} the spectrum of the exact one: leading eigenvalues, and half of "
        f"all, within {NEAR:.0%}, and leading eigenvectors in their space to {ALIGNED:g}."
    )
    return Verdict(outcome=outcome(good), sentence=sentence, details=tuple(details))
