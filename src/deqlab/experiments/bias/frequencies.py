"""How much of each wave of a sum a DEQ learns, and how much feed-forward networks of its cost do.

The target is y(x) = sum_j sin(2 pi k_j x) on [0, 1). For a network with output p, the share of
wave j is <p, e_j> / <e_j, e_j> on a fine grid: 1 where it is learnt, 0 where it is not.
Conjectured: DEQs are at an advantage on high frequencies. Source of the conjecture: Wu et al.
(2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and Learning Dynamics"; the
task is deqlab's, after Rahaman et al. (2019), "On the Spectral Bias of Neural Networks".

The verdict is that of test losses at equal cost on all waves, as elsewhere; the shares tell where
they come from.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deqlab.experiments.base import Row
from deqlab.experiments.comparing.arms import DTYPES
from deqlab.experiments.comparing.regression import Regression, RegressionConfig, regression
from deqlab.experiments.comparing.supervised import Batch, Predict
from deqlab.experiments.page import chart
from deqlab.tasks.frequencies import Waves

_GRID = 4096


@dataclass(frozen=True, kw_only=True)
class FrequenciesConfig(RegressionConfig):
    """The fields of the experiment.

    Attributes:
        frequencies: k_j, different whole numbers; the amplitudes are all 1.
    """

    frequencies: tuple[int, ...] = (1, 2, 4, 8, 16)
    width: int = 20
    learning_rates: tuple[float, ...] = (1e-2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.waves().grid(_GRID)

    def waves(self) -> Waves:
        """Return the target."""
        return Waves(frequencies=self.frequencies)


def _sample(config: FrequenciesConfig, num_samples: int, generator: torch.Generator) -> Batch:
    return config.waves().sample(num_samples, generator=generator, dtype=DTYPES[config.dtype])


def _shares(config: FrequenciesConfig, predict: Predict) -> Iterator[Row]:
    waves = config.waves()
    outputs: Tensor = predict(waves.grid(_GRID).to(DTYPES[config.dtype]))
    shares = waves.shares(outputs.double())
    for frequency, share in zip(config.frequencies, shares.tolist(), strict=True):
        yield {"kind": "wave", "frequency": frequency, "share": share}


def _subject(config: FrequenciesConfig) -> str:
    return f"On waves of {', '.join(map(str, config.frequencies))} periods"


_SHARES = chart(
    "wave",
    "frequency",
    "share",
    title="How much of each wave is learnt",
    caption="Projection of the output on each wave, over the wave's own: 1 is all of it.",
    y_label="share learnt",
)

EXPERIMENT = regression(
    Regression(sample=_sample, subject=_subject, after=_shares),
    FrequenciesConfig(),
    about="Mean squared error; the zero function scores half the number of waves.",
    smallest={"frequencies": (1, 4)},
    charts=(_SHARES,),
    name="frequencies",
    title="DEQ against feed-forward networks on waves of several frequencies",
    claim="At equal cost, a DEQ learns high-frequency components better than feed-forward "
    "networks.",
    source="Wu et al. (2024), a conjecture there; the task is deqlab's own.",
    origin="published",
)
