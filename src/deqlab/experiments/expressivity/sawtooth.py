"""A DEQ against feed-forward networks of equal cost on sawtooths with 2^k linear regions.

Published: DEQs represent functions with many linear regions that feed-forward networks of similar
size cannot. Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on
Expressivity and Learning Dynamics": Figure 1(a, d) with 2^5 and 2^10 regions, Figure 3 with 2^1,
2^3 and 2^15, Table 1 with a width-10 DEQ against FNNs of several widths and depths on 2^5. Their
training settings are not public: those here are deqlab's, the same for all k. All networks are
piecewise linear (ReLU), and work in float64, as 2^15 regions need.
"""

from dataclasses import dataclass

import torch

from deqlab.experiments.base import Experiment
from deqlab.experiments.comparing.arms import DTYPES
from deqlab.experiments.comparing.regression import Regression, RegressionConfig, regression
from deqlab.experiments.comparing.supervised import Batch
from deqlab.experiments.config import check_at_least, require
from deqlab.tasks import sawtooth

_FIGURES = {1: "Figure 3", 3: "Figure 3", 5: "Figure 1(a)", 10: "Figure 1(d)", 15: "Figure 3"}


@dataclass(frozen=True, kw_only=True)
class SawtoothConfig(RegressionConfig):
    """The fields of the experiment.

    Attributes:
        log2_regions: k, for 2^k linear regions; at most 20 in float32, 49 in float64.
    """

    log2_regions: int
    dtype: str = "float64"
    test_rtol: float = 1e-10
    learning_rates: tuple[float, ...] = (1e-2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "log2_regions")
        largest = {"float32": 20, "float64": 49}[self.dtype]
        require(
            self.log2_regions <= largest,
            f"log2_regions must be at most {largest} in {self.dtype}, got {self.log2_regions}: "
            "inputs do not resolve more regions",
        )


def _sample(config: SawtoothConfig, num_samples: int, generator: torch.Generator) -> Batch:
    return sawtooth.sample(
        num_samples,
        log2_regions=config.log2_regions,
        generator=generator,
        dtype=DTYPES[config.dtype],
    )


def _subject(config: SawtoothConfig) -> str:
    return f"On a sawtooth of {2**config.log2_regions:,} linear regions"


_TASK = Regression(sample=_sample, subject=_subject)


def _experiment(
    name: str, log2_regions: int, figure: str, *, depths: tuple[int, ...]
) -> Experiment[SawtoothConfig]:
    regions = f"{2**log2_regions:,} linear regions"
    return regression(
        _TASK,
        SawtoothConfig(log2_regions=log2_regions, depths=depths),
        about="Mean squared error; the constant function 1/2 scores 0.083.",
        name=name,
        title=f"DEQ against feed-forward networks on a sawtooth of {regions}",
        claim=f"At equal cost, a width-10 DEQ fits a sawtooth with {regions} better than "
        f"feed-forward networks of {len(depths)} depths.",
        source=f"Wu et al. (2024), {figure}; training settings are deqlab's own.",
        origin="published",
    )


EXPERIMENTS = (
    *(_experiment(f"sawtooth-k{k}", k, figure, depths=(1, 2, 3)) for k, figure in _FIGURES.items()),
    _experiment("sawtooth-table", 5, "Table 1", depths=(1, 2, 3, 4, 5, 6)),
)
