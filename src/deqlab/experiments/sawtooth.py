"""A DEQ against feed-forward networks of equal cost on a sawtooth with 2^k linear regions.

Published: DEQs represent functions with many linear regions that feed-forward networks of
similar size cannot, and a width-10 DEQ is compared with FNNs on 2^5 regions at similar FLOPs per
iteration. Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on
Expressivity and Learning Dynamics", Figure 1(a, d) and Table 1. Their training settings are not
public: those here are deqlab's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import mse_loss

from deqlab.experiments.base import (
    Column,
    Experiment,
    Job,
    Row,
    Verdict,
    check_at_least,
    require,
)
from deqlab.experiments.comparing import arms
from deqlab.experiments.comparing.comparison import Metric, judge
from deqlab.experiments.comparing.pages import comparison_page
from deqlab.experiments.comparing.supervised import Batch, Training, train
from deqlab.tasks import sawtooth

TEST_LOSS = Metric(field="test_loss", label="a test loss of", higher_is_better=False)
_TEST_SEED = 2**31 - 1
"""No training seed: all arms and seeds are tested on the same points."""


@dataclass(frozen=True, kw_only=True)
class SawtoothConfig(arms.ArmsConfig):
    """The fields of the experiment; ReLU arms, so that every network is piecewise linear.

    Attributes:
        log2_regions: k, for 2^k linear regions; 1 to 20 in float32.
        steps: Training steps, each on fresh points.
        test_samples: Points of the test set.
    """

    log2_regions: int = 5
    width: int = 10
    constraint: str = "triangular"
    gain: float = 2.0
    rtol: float = 1e-4
    max_steps: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-2
    weight_decay: float = 0.0
    steps: int = 5000
    test_samples: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "log2_regions", "steps", "test_samples")
        require(
            self.log2_regions <= 20,
            f"log2_regions must be at most 20, got {self.log2_regions}: inputs in float32 do "
            "not resolve more regions",
        )


def check(config: SawtoothConfig) -> None:
    """The data is made, not loaded: nothing can be absent."""


def plan(config: SawtoothConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the DEQ and the FNNs that match it."""
    return arms.plan(_shape(config), mse_loss, torch.zeros(config.batch_size, 1), rows)


def run(config: SawtoothConfig, job: Job) -> Iterator[Row]:
    """Train one arm on the sawtooth."""
    model = arms.build(_shape(config), job)
    training = Training(
        config=config,
        batches=lambda seed: _batches(config, seed),
        num_steps=config.steps,
        test=_sample(config, config.test_samples, torch.Generator().manual_seed(_TEST_SEED)),
        loss=mse_loss,
        accuracy=None,
    )
    yield from train(model, training, job)


def verdict(config: SawtoothConfig, rows: Sequence[Row]) -> Verdict:
    """Return who wins in test loss."""
    regions = 2**config.log2_regions
    return judge(TEST_LOSS, rows, subject=f"On a sawtooth of {regions} linear regions")


def _shape(config: SawtoothConfig) -> arms.Shape:
    return arms.Shape(config=config, num_inputs=1, num_outputs=1)


def _batches(config: SawtoothConfig, seed: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(config.steps):
        yield _sample(config, config.batch_size, generator)


def _sample(config: SawtoothConfig, num_samples: int, generator: torch.Generator) -> Batch:
    return sawtooth.sample(num_samples, log2_regions=config.log2_regions, generator=generator)


EXPERIMENT = Experiment(
    name="sawtooth",
    title="DEQ against feed-forward networks on a sawtooth",
    claim="At equal cost, a DEQ fits a sawtooth with 2^k linear regions better than "
    "feed-forward networks.",
    source="Wu et al. (2024), Figure 1(a, d) and Table 1; training settings are deqlab's own.",
    presets={
        "smoke": SawtoothConfig(
            seeds=(0,),
            log2_regions=2,
            width=4,
            depths=(1,),
            steps=6,
            batch_size=16,
            test_samples=64,
            num_evaluations=2,
            max_steps=20,
        ),
        "quick": SawtoothConfig(log2_regions=3, steps=1000),
        "full": SawtoothConfig(seeds=tuple(range(8)), steps=10000),
    },
    page=comparison_page(
        Column(field="test_loss", label="test loss", format="number", better="lower"),
        about="Mean squared error; the constant function 1/2 scores 0.083.",
    ),
    check=check,
    plan=plan,
    run=run,
    judge=verdict,
)
