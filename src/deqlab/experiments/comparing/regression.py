"""A DEQ against FNNs of equal cost on regression tasks whose samples are made, not loaded.

Every training step has fresh samples. Validation and test sets are the same for all arms and
seeds; validation samples are drawn like those that networks train on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch.nn.functional import mse_loss

from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.comparing import arms, matching, own_parts
from deqlab.experiments.comparing.comparison import Metric, judge
from deqlab.experiments.comparing.pages import comparison_page
from deqlab.experiments.comparing.supervised import Batch, Predict, Training, train
from deqlab.experiments.config import TEST_SEED, check_at_least, check_at_most, require
from deqlab.experiments.page import Chart
from deqlab.training.batches import Drawn

TEST_LOSS = Metric(field="test_loss", label="a test loss of")
_VALIDATION_SEED = TEST_SEED - 1
"""Above all training seeds."""


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(arms.ArmsConfig):
    """The fields of every such comparison.

    Attributes:
        seeds: One job of every arm for each of them; below 2^31 - 2.
        steps: Training steps, each on fresh samples.
        test_samples: Samples of the validation set, and of the test set where that is drawn too.
    """

    width: int = 10
    constraint: str = "triangular"
    bound: float = 0.5
    gain: float = 2.0
    rtol: float = 1e-4
    test_rtol: float = 1e-5
    max_steps: int = 100
    batch_size: int = 256
    weight_decay: float = 0.0
    steps: int = 500
    test_samples: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "steps", "test_samples")
        check_at_most(self, 2**20, "test_samples")
        require(
            max(self.seeds) < _VALIDATION_SEED,
            f"seeds must be below {_VALIDATION_SEED}, got {max(self.seeds)}: those above draw the "
            "validation and test sets",
        )


ConfigT = TypeVar("ConfigT", bound=RegressionConfig)


def smoke(config: ConfigT) -> ConfigT:
    """Return a config that takes a second and shows nothing but that everything runs."""
    return replace(
        config,
        seeds=(0,),
        width=4,
        depths=(1,),
        steps=6,
        batch_size=16,
        test_samples=64,
        num_evaluations=2,
        max_steps=20,
        learning_rates=(1e-3, 1e-2),
    )


def full(config: ConfigT, *, learning_rates: tuple[float, ...] = (3e-3, 1e-2)) -> ConfigT:
    """Return a config with seeds and steps enough to decide, and a search of the rates."""
    return replace(config, seeds=tuple(range(8)), steps=2000, learning_rates=learning_rates)


Sample: TypeAlias = Callable[[ConfigT, int, torch.Generator], Batch]
"""Draws so many samples, (n, p) and (n, q), in the dtype of the config."""


def constant_loss(config: RegressionConfig, test: Batch) -> float:
    """Return the loss of the best constant function."""
    _, y = test
    return y.var(dim=0, correction=0).mean().item()


@dataclass(frozen=True, kw_only=True)
class Regression(Generic[ConfigT]):
    """A regression task, and the functions of its experiment.

    Attributes:
        sample: Draws the samples.
        subject: Where the DEQ is compared: the beginning of the verdict.
        test: Makes the test set, where it is no sample like those that networks train on.
        after: Yields more rows of a trained network.
        unlearned: The loss on the test set of the best function that misses what is to be learned.
    """

    sample: Sample[ConfigT]
    subject: Callable[[ConfigT], str]
    test: Callable[[ConfigT], Batch] | None = None
    after: Callable[[ConfigT, Predict], Iterator[Row]] | None = None
    unlearned: Callable[[ConfigT, Batch], float] = constant_loss

    def check(self, config: ConfigT) -> None:
        """Raise BudgetError if no FNN matches the DEQ, OwnCodeError if a part of yours misfits."""
        _, target = self.sample(config, own_parts.TRIED, torch.Generator().manual_seed(0))
        arms.try_own(self._shape(config), mse_loss, target)
        matching.check(self._shape(config))

    def plan(self, config: ConfigT, rows: Sequence[Row]) -> list[Job]:
        """Return the DEQ and the FNNs that match it."""
        shape = self._shape(config)
        target = torch.zeros(config.batch_size, shape.num_outputs)
        return matching.plan(shape, mse_loss, target, rows)

    def run(self, config: ConfigT, job: Job) -> Iterator[Row]:
        """Train one arm."""
        training = Training(
            config=config,
            batches=partial(self._batches, config),
            num_steps=config.steps,
            test=self.test(config) if self.test else self._fixed(config, TEST_SEED),
            validation=self._fixed(config, _VALIDATION_SEED),
            loss=mse_loss,
            after=partial(self.after, config) if self.after else None,
        )
        yield from train(partial(arms.build, self._shape(config), job), training, job)

    def judge(self, config: ConfigT, rows: Sequence[Row]) -> Verdict:
        """Return who wins in test loss."""
        unlearned = None
        if self.test is None:  # elsewhere a network that has learned may be worse than a constant
            unlearned = self.unlearned(config, self._fixed(config, TEST_SEED))
        return judge(
            TEST_LOSS, rows, subject=self.subject(config), views=matching.VIEWS, unlearned=unlearned
        )

    def _shape(self, config: ConfigT) -> arms.Shape:
        x, y = self.sample(config, 1, torch.Generator())
        return arms.Shape(config=config, num_inputs=x.shape[1], num_outputs=y.shape[1])

    def _batches(self, config: ConfigT, seed: int) -> Drawn[Batch]:
        draw = partial(self.sample, config, config.batch_size)
        return Drawn(config.steps, torch.Generator().manual_seed(seed), draw)

    def _fixed(self, config: ConfigT, seed: int) -> Batch:
        return self.sample(config, config.test_samples, torch.Generator().manual_seed(seed))


def regression(
    task: Regression[ConfigT],
    quick: ConfigT,
    *,
    about: str,
    smallest: Mapping[str, Any] | None = None,
    charts: tuple[Chart, ...] = (),
    **described: Any,  # noqa: ANN401
) -> Experiment[ConfigT]:
    """Return the experiment of one task.

    Args:
        task: The task.
        quick: The config of the preset "quick", from which the others are made.
        about: A sentence about the test loss.
        smallest: Fields that are others in the preset "smoke".
        charts: Charts of the rows of `task.after`; they come first.
        described: Name, title, claim, source and origin, see `Experiment`.
    """
    page = comparison_page("test_loss", about=about)
    return Experiment(
        presets={
            "smoke": replace(smoke(quick), **(smallest or {})),
            "quick": quick,
            "full": full(quick),
        },
        page=replace(page, charts=(*charts, *page.charts)),
        check=task.check,
        plan=task.plan,
        later=matching.later,
        run=task.run,
        judge=task.judge,
        **described,
    )
