"""How many features carry a diagonal linear DEQ, a vanilla DEQ and a feed-forward network.

Published: heat maps of 20 feature magnitudes, in which those of DEQs are denser than those of an
FNN. Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and
Learning Dynamics", Figure 2. Its task and training are not public: those here are deqlab's. They
are a linear function of 20 bits, one of them frozen where it is seen, so that part of the answer is
bias alone; few samples; and full-batch gradient descent, because the claim is about its bias.

The networks are those of `deqlab.bias.features`. The magnitude of feature j is its mean share in
the answer, mean_x |v_j h_j(x)| over the unseen points (2,048 of them); for the diagonal DEQ that
is |beta_j|.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from deqlab.bias.density import participation_ratio
from deqlab.bias.features import Network, build, magnitudes
from deqlab.experiments.base import Experiment, Job, Row, cross
from deqlab.experiments.bias.feature_density_report import LABELS, PAGE, verdict
from deqlab.experiments.config import Config, check_at_least, check_positive, require
from deqlab.stability.equilibria import Solves
from deqlab.tasks.boolean import MOST_BITS, BooleanTask
from deqlab.tasks.gotu import frozen_bit
from deqlab.training.loop import Loop

_TEST_POINTS = 2048

# fmt: off
DENSE = (2.0, 0.6, 1.5, 1.0, 0.5, 1.8, 0.9, 1.2, 0.7, 1.6, 1.1, 0.8, 1.9, 1.3, 0.5, 1.4, 1.0, 1.7,
         0.6, 1.2)
# fmt: on
"""Coefficients between 1/2 and 2: all are above 0, so that 1 / (1 - w) can fit any samples."""


@dataclass(frozen=True, kw_only=True)
class FeatureDensityConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the samples and of the initial weights for each.
        features: The number of bits, and of features of each network; 1 to 20.
        coefficients: The coefficients of the first bits; the others have none. Bit 0 is frozen.
        samples: Training points.
        steps: The most steps of gradient descent.
        fit: The training loss at which it stops.
        learning_rate: The learning rate of all arms; the diagonal DEQ, whose curvature grows like
            beta^4, limits it.
        gain: The initial scale of the vanilla DEQ's weight.
    """

    features: int = 20
    coefficients: tuple[float, ...] = DENSE
    samples: int = 8
    steps: int = 500
    fit: float = 1e-2
    learning_rate: float = 0.005
    gain: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "samples", "steps", "features")
        check_positive(self, "fit", "learning_rate", "gain")
        require(
            1 <= len(self.coefficients) <= self.features <= MOST_BITS,
            f"coefficients has 1 to `features` numbers, and features is at most {MOST_BITS}, got "
            f"{len(self.coefficients)} and {self.features}",
        )


@lru_cache(maxsize=1)
def task_of(coefficients: tuple[float, ...], features: int) -> BooleanTask:
    """Return the task, kept for the next job: it enumerates the cube."""
    return frozen_bit(coefficients, num_bits=features)


def run(config: FeatureDensityConfig, job: Job) -> Iterator[Row]:
    """Train one network and measure its features on unseen points."""
    task = task_of(config.coefficients, config.features)
    generator = torch.Generator().manual_seed(job.seed)
    x, y = task.sample(config.samples, generator=generator, dtype=torch.float64)
    network = build(job.arm, config.features, config.gain)
    steps = train(config, network, x, y)
    network.test()
    unseen, seen = (
        _some(task.unseen(dtype=torch.float64), generator),
        task.sample(_TEST_POINTS, generator=generator, dtype=torch.float64),
    )
    with torch.no_grad():
        answer, trained = network.answer(unseen[0]), network.answer(x)
        seen_loss = mse_loss(network.answer(seen[0]).output, seen[1]).item()
        contributions = magnitudes(answer.features, answer.weights)
    largest = contributions.sort(descending=True).values
    for rank, value in enumerate(largest.tolist(), start=1):
        share = value / largest[0].item() if largest[0] > 0 else 0.0
        yield {"kind": "feature", "rank": rank, "magnitude": share, "contribution": value}
    solves = Solves()
    solves.add(answer.solution)
    dead = not bool(largest[0] > 0)
    activity = answer.features.abs().mean(dim=0)
    yield {
        "kind": "summary",
        "label": LABELS[job.arm],
        "matching": None if job.arm == "diagonal" else "features",
        "density": None if dead else participation_ratio(largest).item(),
        "activity_density": None if dead else participation_ratio(activity).item(),
        "train_loss": mse_loss(trained.output, y).item(),
        "seen_loss": seen_loss,
        "gotu_error": mse_loss(answer.output, unseen[1]).item(),
        "steps": steps,
        **solves.row("residual", "residual_max", "converged"),
    }


def train(config: FeatureDensityConfig, network: Network, x: Tensor, y: Tensor) -> int:
    """Descend on all samples until they are fit, and return how many steps that took."""
    optimizer = torch.optim.SGD(network.parameters(), lr=config.learning_rate)
    loop: Loop[int, None] = Loop(
        loss=lambda _: (mse_loss(network.answer(x).output, y), None), optimizer=optimizer
    )
    return sum(1 for _ in loop.run(range(config.steps), stop_at=config.fit))


def _some(points: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x, y = points
    drawn = torch.randperm(len(x), generator=generator)[:_TEST_POINTS]
    return x[drawn], y[drawn]


EXPERIMENT = Experiment(
    name="feature-density",
    title="Feature magnitudes of DEQs and a feed-forward network",
    claim="The features of a diagonal linear DEQ and of a vanilla DEQ are denser than those of a "
    "feed-forward network.",
    source="Wu et al. (2024), Figure 2; its task and training are not public, those here are "
    "deqlab's.",
    origin="published",
    presets={
        "smoke": FeatureDensityConfig(
            seeds=(0,), features=4, coefficients=(2.0, 1.0), samples=3, steps=20
        ),
        "quick": FeatureDensityConfig(),
        "full": FeatureDensityConfig(seeds=tuple(range(16)), steps=4000, fit=1e-3),
    },
    page=PAGE,
    plan=cross(LABELS),
    run=run,
    judge=lambda config, rows: verdict(rows, num_features=config.features, seeds=config.seeds),
)
