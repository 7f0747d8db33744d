"""A DEQ against feed-forward networks of equal cost on steep functions.

Published: DEQs of polynomially bounded size and weights approximate certain steep functions in
L-infinity, for which feed-forward networks of bounded depth need exponentially large weights.
Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and
Learning Dynamics", Figure 1(b, e), delta = 2^-10 and 2^-20. The functions here are derived: the
paper's exact equations are not available to deqlab; nor are its training settings.
"""

from dataclasses import dataclass

import torch

from deqlab.experiments.base import Experiment
from deqlab.experiments.comparing.arms import DTYPES
from deqlab.experiments.comparing.regression import Regression, RegressionConfig, regression
from deqlab.experiments.comparing.supervised import Batch
from deqlab.experiments.config import check_at_least, check_choice
from deqlab.tasks import steep


@dataclass(frozen=True, kw_only=True)
class SteepConfig(RegressionConfig):
    """The fields of the experiment.

    Attributes:
        log2_steepness: d, for a step of width delta = 2^-d, at most 50 in float64.
        curve: "ramp" or "rational".
    """

    log2_steepness: int
    curve: str = "ramp"
    dtype: str = "float64"
    test_rtol: float = 1e-10
    solver: str = "newton"
    bound: float = 1.0
    gain: float = 1.0
    learning_rates: tuple[float, ...] = (1e-2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "log2_steepness")
        check_choice(self, "curve", steep.CURVES)
        steep.check_resolved(self.delta, DTYPES[self.dtype])

    @property
    def delta(self) -> float:
        """Width of the step."""
        return 2.0**-self.log2_steepness


def _sample(config: SteepConfig, num_samples: int, generator: torch.Generator) -> Batch:
    return steep.sample(
        num_samples,
        curve=steep.CURVES[config.curve](config.delta),
        delta=config.delta,
        generator=generator,
        dtype=DTYPES[config.dtype],
    )


def unlearned(config: SteepConfig, test: Batch) -> float:
    """Return the loss of the best function that is one number near the step, exact elsewhere."""
    x, y = test
    near = y[x.abs() <= steep.REACH * config.delta]
    return (near - near.mean()).square().sum().item() / len(y)


def _subject(config: SteepConfig) -> str:
    return f"On a {config.curve} with a step of width 2^-{config.log2_steepness}"


_TASK = Regression(sample=_sample, subject=_subject, unlearned=unlearned)


def _experiment(log2_steepness: int, figure: str) -> Experiment[SteepConfig]:
    return regression(
        _TASK,
        SteepConfig(log2_steepness=log2_steepness),
        about="Mean squared error, half of the points within 4 steps' width of the step.",
        name=f"steep-d{log2_steepness}",
        title=f"DEQ against feed-forward networks on a step of width 2^-{log2_steepness}",
        claim=f"At equal cost, a DEQ fits a function with a step of width 2^-{log2_steepness} "
        "better than feed-forward networks.",
        source=f"Wu et al. (2024), {figure}; the function and the settings are deqlab's own.",
        origin="published",
    )


EXPERIMENTS = (_experiment(10, "Figure 1(b)"), _experiment(20, "Figure 1(e)"))
