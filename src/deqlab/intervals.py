"""Estimates with intervals: of paired differences over seeds, and of means over seeds and samples.

Paired differences d_1 .. d_n: the estimate is the median of the Walsh averages (d_i + d_j) / 2 over
i <= j, and the interval runs between two of these averages, as many from either end as the exact
distribution of Wilcoxon's signed-rank statistic allows (Hodges & Lehmann 1963; Hollander & Wolfe
1999, section 3.3). It assumes that the differences are symmetric about their centre, and neither
that they are Gaussian nor that none of them is an outlier. With few seeds no interval reaches 95 %:
the widest one, from the least difference to the largest, has confidence 1 - 2^(1 - n). So up to
five seeds it excludes 0 if and only if one arm is better at every seed.

Differences over the folds of a cross-validation are no independent ones, since training rows are
shared. Their mean has Student's t interval with the variance var(d) (1 / n + r), r the number of
test rows over that of training rows (Nadeau & Bengio 2003, "Inference for the generalization
error", section 3.2). It assumes that the differences are nearly Gaussian.

Means over seeds and samples: the percentile bootstrap over seeds and, within each, over samples
(derived choice; with one seed it says nothing about other seeds).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from statistics import fmean, median, variance

import torch
from scipy.stats import t as student
from torch import Tensor

RESAMPLES, LEVEL = 2000, 0.95
"""How often the bootstrap resamples, and the confidence of its intervals."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and where the true value is.

    Attributes:
        estimate: Between `low` and `high`.
        low: Lower end.
        high: Upper end.
        confidence: With which the true value is between them; 0 for a single difference.
    """

    estimate: float
    low: float
    high: float
    confidence: float

    @property
    def sign(self) -> int:
        """1 if all of it is above 0, -1 if all of it is below, else 0."""
        return (self.low > 0) - (self.high < 0)


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the centre of paired differences and its interval.

    Args:
        differences: One for each seed; inf and -inf are as good as any number.
        confidence: Which the interval has at least, or the most that n differences allow.

    Raises:
        ValueError: There is no difference, or one is nan.
    """
    if not differences or any(d != d for d in differences):
        raise ValueError(f"an interval needs one or more numbers, got {list(differences)}")
    averages = sorted(_average(a, b) for a, b in combinations_with_replacement(differences, 2))
    cut, missed = _cut(len(differences), (1 - confidence) / 2)
    return Interval(
        estimate=median(averages),
        low=averages[cut],
        high=averages[-1 - cut],
        confidence=1 - 2 * missed,
    )


def folds_interval(
    differences: Sequence[float], test_share: float, confidence: float = 0.95
) -> Interval:
    """Return the mean of differences over the folds of a cross-validation, with its interval.

    Args:
        differences: One for each fold, finite, two or more; those of repeated folds together.
        test_share: The share of the rows that a fold tests, between 0 and 1.
        confidence: Between 0 and 1.

    Raises:
        ValueError: There are fewer than two differences.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"an interval over folds needs two differences or more, got {n}")
    ratio = test_share / (1 - test_share)
    error = (variance(differences) * (1 / n + ratio)) ** 0.5
    half = error * float(student.ppf((1 + confidence) / 2, n - 1))
    mean = fmean(differences)
    return Interval(estimate=mean, low=mean - half, high=mean + half, confidence=confidence)


def _average(a: float, b: float) -> float:
    # inf and -inf have no average that would favour neither.
    return 0.0 if a == -b else (a + b) / 2


def _cut(n: int, tail: float) -> tuple[int, float]:
    """Return the most averages that may be cut off an end, and the probability of missing there.

    With T the signed-rank statistic of n differences, cutting c of them misses with probability
    P(T <= c).
    """
    counts = [1]  # of the subsets of ranks 1 .. n, by their sum
    for rank in range(1, n + 1):
        longer = [*counts, *[0] * rank]
        for total, count in enumerate(counts):
            longer[total + rank] += count
        counts = longer
    cut, below = 0, counts[0]
    while (below + counts[cut + 1]) / 2**n <= tail:
        cut += 1
        below += counts[cut]
    return cut, below / 2**n


def bootstrap(samples: Sequence[Tensor], *, seed: int = 0) -> Interval:
    """Return the mean of the means of `samples`, with its interval.

    Args:
        samples: One tensor (n,) of float64 for each seed, none of them empty.
        seed: The seed of the resampling.
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
    return Interval(estimate=mean, low=low, high=high, confidence=LEVEL)
