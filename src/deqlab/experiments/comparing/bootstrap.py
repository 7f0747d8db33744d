"""The mean of samples of several seeds, with an interval from resampling seeds and samples.

The interval is the percentile bootstrap over seeds and, within each, over samples (derived choice;
with one seed it says nothing about other seeds).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deqlab.experiments.comparing.paired import Interval

RESAMPLES = 2000
LEVEL = 0.95


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
