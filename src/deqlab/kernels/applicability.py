"""Whether data are such as the high-dimensional theory of kernels is about.

The equivalents (see `equivalents`) are those of many samples with about as many independent
features, whose squared norms are all alike: of n samples x_i, centred, with covariance C,

    spread       std_i |x_i|^2 / mean_i |x_i|^2          tends to 0
    dimension    (tr C)^2 / tr C^2                       grows with n

Both are measured here. The limits are deqlab's own: below them the leading eigenvalues of a ReLU
DEQ's kernel came out wrong on tables of scikit-learn, and above them right on mixtures and images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SPREAD = 0.4
"""The largest spread; Gaussian vectors of 12 independent features have it."""

DIMENSION = 0.1
"""The smallest effective dimension, as a share of the samples."""

FEWEST = 100
"""The fewest samples."""

HEAVY = 10.0
"""How many times the median the largest squared norm is, from which on it has heavy tails."""


@dataclass(frozen=True, kw_only=True)
class Applicability:
    """What is measured of some data.

    Attributes:
        samples: n.
        features: p.
        dimension: The effective one: how many independent features of equal variance vary as much.
        spread: The standard deviation of |x|^2, as a share of its mean.
        largest: The largest |x|^2 over the median one.
    """

    samples: int
    features: int
    dimension: float
    spread: float
    largest: float

    @property
    def has_heavy_tails(self) -> bool:
        """Whether a few samples are far longer than the others."""
        return self.largest > HEAVY

    @property
    def is_of_few_dimensions(self) -> bool:
        """Whether the samples are too many for so few independent features."""
        return self.dimension < DIMENSION * self.samples

    def reasons(self) -> Iterator[str]:
        """Yield why the theory is not about these data, as parts of sentences; the chief first."""
        if self.is_of_few_dimensions:
            yield (
                f"its {self.features:,} features have an effective dimension of "
                f"{self.dimension:.2g}, less than a tenth of its {self.samples:,} rows"
            )
        if self.spread > SPREAD:
            yield (
                f"its rows differ too much in length: squared, they vary by {self.spread:.0%} of "
                f"their mean ({SPREAD:.0%} is the most), and the largest is {self.largest:.3g} "
                "times the median"
            )
        if self.samples < FEWEST:
            yield f"it has {self.samples} rows, and {FEWEST} are the fewest"


def applicability(x: Float[Tensor, "n p"]) -> Applicability:
    """Measure how near data are to what the theory is about."""
    x = x.double() - x.double().mean(dim=0)
    norms = (x * x).sum(dim=1)
    variances = torch.linalg.svdvals(x) ** 2
    return Applicability(
        samples=len(x),
        features=x.shape[1],
        dimension=float(variances.sum() ** 2 / (variances * variances).sum()),
        spread=float(norms.std(correction=0) / norms.mean()),
        largest=float(norms.max() / norms.median()),
    )
