"""The page and the verdict of `saliency`: whether the DEQ's maps are more spread.

On each test image and each seed, the number of the DEQ's map minus that of the residual network's,
for the score of the true class; images on which either map is zero have none. The intervals are
those of `bootstrap`, over seeds and images.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from deqlab.experiments.base import Row, Verdict
from deqlab.experiments.comparing.evidence import (
    WELL_SOLVED,
    interval,
    least_converged,
    outcome,
    percent,
    seeds_in_words,
    select,
)
from deqlab.experiments.page import Images, Page, chart, column, table
from deqlab.intervals import Interval, bootstrap

MATCHED = "matched"
"""What rows of maps are called that are taken at the epoch that is compared."""
UNTRAINED = "untrained"
"""What those are called that are taken before training: they show the architectures alone."""
MEASURES = {
    "entropy": "normalised entropy of the map",
    "area": "its area above half maximum",
    "density": "density of the features",
}
"""The fields of a row of maps that are compared, in words."""
TOLERANCE = 0.03
"""Accuracies that differ by more are not about the same. On 800 images of which the networks judge
a third differently, the standard error of a difference is 0.02."""
LEAST_IMAGES = 200
"""Fewer pairs of maps decide nothing."""

PAGE = Page(
    charts=(
        Images(
            title="The same pictures, and where the networks look",
            caption="The first test images of two classes. Below each, the Grad-CAM map of its "
            "true class, as it is in the feature map (not enlarged by interpolation), over its own "
            "maximum: bright is evidence for the class. The first seed.",
            rows="image",
            line="column",
            column="picture",
        ),
        chart(
            "step",
            "epoch",
            "test_accuracy",
            title="Test accuracy while training",
            caption="The residual network is compared at the epoch whose accuracy is nearest to "
            "the DEQ's last one.",
        ),
    ),
    tables=(
        table(
            "spread",
            "test_accuracy",
            "epoch",
            column("entropy", "normalised entropy"),
            column("area", "area above half maximum", format="percent"),
            column("density", "density of the features"),
            column("empty", "maps of zeros", format="percent"),
            title="How far the maps are spread",
            caption="Means over the test images; images whose map is zero are left out of entropy "
            "and area. Before training, at the epoch that is compared, and at the last one if it "
            "is another.",
            by="taken",
            mark_best=False,
        ),
        table(
            "summary",
            "parameters",
            column("converged", "equilibria found"),
            column("residual", "median relative residual"),
            "residual_max",
            column("test_evaluations", "evaluations of f", format="integer"),
            column("seconds", "training", better=None),
            title="The networks",
            caption="Equilibria: of the test images, at the epoch that is compared.",
        ),
    ),
)


def differences(
    rows: Sequence[Row], field: str, *, taken: str = MATCHED, right: bool = False
) -> list[Tensor]:
    """Return the paired differences of a field, one tensor a seed, without images that lack one.

    Args:
        rows: The rows of the run.
        field: A key of MEASURES.
        taken: When the maps were taken.
        right: Take only images that both networks classify correctly.
    """
    maps = {(row["arm"], row["seed"]): row for row in select(rows, "maps", taken=taken)}
    found = []
    for seed in dict.fromkeys(seed for _, seed in maps):
        ours, theirs = maps["deq", seed], maps["resnet", seed]
        gaps = [
            a - b
            for a, b, *both in zip(
                ours[field], theirs[field], ours["correct"], theirs["correct"], strict=True
            )
            if a is not None and b is not None and (all(both) or not right)
        ]
        found.append(torch.tensor(gaps, dtype=torch.float64))
    return found


def judge(rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ's maps are more spread, and its features denser.

    The claim holds if the intervals of all MEASURES lie above zero, does not if none does, and
    holds partly in between. It is undecided if the accuracies of a seed differ by more than
    TOLERANCE, the DEQ is off its equilibrium, or there are fewer than LEAST_IMAGES pairs in a seed.
    """
    solved = least_converged(rows)
    resnets = select(rows, arm="resnet")
    gap = max(abs(row["test_accuracy"] - row["target"]) for row in resnets)
    counts = [len(pairs) for pairs in differences(rows, "entropy")]
    doubt = _doubt(gap, solved, min(counts))
    if min(counts) == 0:
        return Verdict(outcome="undecided", sentence=f"There is nothing to compare: {doubt}.")
    found = {field: bootstrap(differences(rows, field)) for field in MEASURES}
    told = ", ".join(f"{name} {_told(found[field])}" for field, name in MEASURES.items())
    sentence = (
        f"DEQ minus residual network of about its accuracy, on {min(counts)} test images or more "
        f"of {seeds_in_words(len(counts))}: {told}" + (f"; but {doubt}." if doubt else ".")
    )
    details = (
        *_more(rows, "On images that both classify correctly", right=True),
        *_more(rows, "Before any training", taken=UNTRAINED),
        f"Test accuracies differ by {100 * gap:.1f} points at most; {percent(solved)} of the test "
        "images were at their equilibrium (in the worst seed).",
    )
    above = [] if doubt else [difference.low > 0 for difference in found.values()]
    return Verdict(outcome=outcome(above), sentence=sentence, details=details)


def _doubt(gap: float, solved: float, count: int) -> str:
    """Why nothing can be decided; an empty text if it can."""
    doubts = []
    if gap > TOLERANCE:
        doubts.append(f"the accuracies differ by up to {100 * gap:.1f} points")
    if solved < WELL_SOLVED:
        doubts.append(f"only {percent(solved)} of the DEQ's equilibria were found")
    if count < LEAST_IMAGES:
        doubts.append(f"only {count} images have a map of both networks")
    return ", and ".join(doubts)


def _told(difference: Interval) -> str:
    return f"{difference.estimate:+.3f}{interval(difference, '{:+.3f}'.format)}"


def _more(
    rows: Sequence[Row], where: str, *, taken: str = MATCHED, right: bool = False
) -> Iterator[str]:
    """A sentence about other pairs, if each seed has some."""
    pairs = {field: differences(rows, field, taken=taken, right=right) for field in MEASURES}
    count = min(min(map(len, found), default=0) for found in pairs.values())
    if count:
        told = ", ".join(f"{field} {_told(bootstrap(found))}" for field, found in pairs.items())
        yield f"{where} ({count} or more a seed): {told}."
