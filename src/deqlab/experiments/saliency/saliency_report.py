"""Whether the DEQ's maps are more spread, and its features denser, with intervals.

On each test image and each seed, the number of the DEQ's map minus that of the residual network's,
for the score of the true class; images on which either map is zero have none. The interval is the
percentile bootstrap over seeds and, within each, over images (derived choice; with one seed it
says nothing about other seeds).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deqlab.experiments.base import Outcome, Row, Verdict, summaries
from deqlab.experiments.comparing.evidence import WELL_SOLVED

MATCHED = "matched"
"""Of rows of maps: at the epoch that is compared."""
UNTRAINED = "untrained"
"""Of rows of maps: before training, for what the architectures alone make of the pictures."""
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
RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """DEQ minus residual network: the mean over seeds and images, and its interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.mean:+.3f} ({100 * LEVEL:.0f} % interval {self.low:+.3f} to {self.high:+.3f})"
        )


def bootstrap(samples: Sequence[Tensor], *, seed: int = 0) -> Difference:
    """Return the mean of the means of `samples`, with its interval.

    Args:
        samples: Differences, one (n,) tensor of float64 a seed, none of them empty.
        seed: Of the resampling.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(samples)
    chosen = torch.randint(count, (RESAMPLES, count), generator=generator)
    total = torch.zeros(RESAMPLES, dtype=torch.float64)
    for column in chosen.T:
        for which, sample in enumerate(samples):
            rows = column == which
            shape = (int(rows.sum()), len(sample))
            drawn = sample[torch.randint(len(sample), shape, generator=generator)]
            total[rows] += drawn.mean(dim=1)
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = torch.quantile(total / count, ends).tolist()
    mean = torch.stack([sample.mean() for sample in samples]).mean().item()
    return Difference(mean=mean, low=low, high=high)


def differences(
    rows: Sequence[Row], field: str, *, taken: str = MATCHED, right: bool = False
) -> list[Tensor]:
    """Return the paired differences of a field, one tensor a seed, without images that lack one.

    Args:
        rows: Of the run.
        field: One of MEASURES.
        taken: When the maps were taken.
        right: Take only images that both networks classify correctly.
    """
    maps = {
        (row["arm"], row["seed"]): row
        for row in rows
        if row["kind"] == "maps" and row["taken"] == taken
    }
    found = []
    for seed in dict.fromkeys(seed for _, seed in maps):
        ours, theirs = maps["deq", seed], maps["resnet", seed]
        gaps = [
            a - b
            for a, b, correct in zip(
                ours[field], theirs[field], _both_right(ours, theirs), strict=True
            )
            if a is not None and b is not None and (correct or not right)
        ]
        found.append(torch.tensor(gaps, dtype=torch.float64))
    return found


def judge(rows: Sequence[Row]) -> Verdict:
    """Return whether the DEQ's maps are more spread, and its features denser.

    The claim holds if the intervals of all MEASURES lie above zero, does not if none does, and
    holds partly in between. It is undecided if the accuracies of a seed differ by more than
    TOLERANCE, the DEQ is off its equilibrium, or there are fewer than LEAST_IMAGES pairs in a seed.
    """
    last = summaries(rows)
    converged = min(row["converged"] for row in last if row["arm"] == "deq")
    gap = max(abs(row["test_accuracy"] - row["target"]) for row in last if row["arm"] == "resnet")
    counts = [len(pairs) for pairs in differences(rows, "entropy")]
    doubt = _doubt(gap, converged, min(counts))
    if min(counts) == 0:
        return Verdict(outcome="undecided", sentence=f"There is nothing to compare: {doubt}.")
    found = {field: bootstrap(differences(rows, field)) for field in MEASURES}
    told = ", ".join(f"{name} {found[field]}" for field, name in MEASURES.items())
    seeds = "1 seed" if len(counts) == 1 else f"{len(counts)} seeds"
    sentence = (
        f"DEQ minus residual network of about its accuracy, on {min(counts)} test images or more "
        f"of {seeds}: {told}" + (f"; but {doubt}." if doubt else ".")
    )
    details = (
        *_more(rows, "On images that both classify correctly", right=True),
        *_more(rows, "Before any training", taken=UNTRAINED),
        f"Test accuracies differ by {100 * gap:.1f} points at most; {100 * converged:.1f} % of the "
        "test images were at their equilibrium (in the worst seed).",
    )
    outcome = "undecided" if doubt else _outcome(list(found.values()))
    return Verdict(outcome=outcome, sentence=sentence, details=details)


def _doubt(gap: float, converged: float, count: int) -> str:
    """Why nothing can be decided; an empty text if it can."""
    doubts = []
    if gap > TOLERANCE:
        doubts.append(f"the accuracies differ by up to {100 * gap:.1f} points")
    if converged < WELL_SOLVED:
        doubts.append(f"only {100 * converged:.1f} % of the DEQ's equilibria were found")
    if count < LEAST_IMAGES:
        doubts.append(f"only {count} images have a map of both networks")
    return ", and ".join(doubts)


def _outcome(found: Sequence[Difference]) -> Outcome:
    above = sum(difference.low > 0 for difference in found)
    if above == len(found):
        return "holds"
    return "holds partly" if above else "does not hold here"


def _more(
    rows: Sequence[Row], where: str, *, taken: str = MATCHED, right: bool = False
) -> Iterator[str]:
    """A sentence about other pairs, if each seed has some."""
    pairs = {field: differences(rows, field, taken=taken, right=right) for field in MEASURES}
    count = min(min(map(len, found), default=0) for found in pairs.values())
    if count:
        told = ", ".join(f"{field} {bootstrap(found)}" for field, found in pairs.items())
        yield f"{where} ({count} or more a seed): {told}."


def _both_right(ours: Row, theirs: Row) -> list[bool]:
    return [a and b for a, b in zip(ours["correct"], theirs["correct"], strict=True)]
