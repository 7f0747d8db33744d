"""A DEQ against feed-forward networks of equal cost on images.

Expected from the literature: at equal parameters a DEQ is at least as accurate, because its
layer is used many times; at equal FLOPs it pays for every one of those uses. Source of the
model: Bai, Kolter & Koltun (2019), "Deep Equilibrium Models". The comparison is deqlab's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from deqlab.experiments.base import Experiment, Job, Row
from deqlab.experiments.comparing import arms, matching, own_parts
from deqlab.experiments.comparing.comparison import Metric, judge
from deqlab.experiments.comparing.pages import comparison_page
from deqlab.experiments.comparing.supervised import Batch, Training, train
from deqlab.experiments.config import check_at_least, check_dataset
from deqlab.tasks.files.classification import ClassificationData
from deqlab.tasks.files.loading import load as load_data
from deqlab.training.batches import Shuffled

ACCURACY = Metric(field="test_accuracy", label="a test accuracy of", is_accuracy=True)


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(arms.ArmsConfig):
    """The fields of the experiment.

    Attributes:
        dataset: A classification set of `tasks`; "digits" is bundled.
        epochs: Passes over the training set.
    """

    dataset: str = "digits"
    epochs: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dataset(self, "dataset", ClassificationData)
        check_at_least(self, 1, "epochs")


def check(config: ImagesConfig) -> None:
    """Check data, networks and budgets.

    Raises:
        DataError: The data set is not here, or not sound.
        OwnCodeError: A cell or a network of the user's does not fit.
        BudgetError: No FNN matches the DEQ.
    """
    target = load(config.dataset).y_train[: own_parts.TRIED]
    arms.try_own(_shape(config), cross_entropy, target)
    matching.check(_shape(config))


@lru_cache(maxsize=1)
def load(dataset: str) -> ClassificationData:
    """Return the data set, kept in memory for the next job."""
    data: ClassificationData = load_data(dataset)
    return data


def plan(config: ImagesConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the DEQ and the FNNs that match it."""
    target = load(config.dataset).y_train[: config.batch_size]
    return matching.plan(_shape(config), cross_entropy, target, rows)


def run(config: ImagesConfig, job: Job) -> Iterator[Row]:
    """Train one arm on the images."""
    data = load(config.dataset)
    training = Training(
        config=config,
        batches=partial(_batches, data, config),
        num_steps=len(_batches(data, config, job.seed)),
        test=(data.x_test.to(arms.DTYPES[config.dtype]), data.y_test),
        validation=_held_out(data, config),
        loss=cross_entropy,
        accuracy=_accuracy,
    )
    yield from train(partial(arms.build, _shape(config), job), training, job)


def _shape(config: ImagesConfig) -> arms.Shape:
    data = load(config.dataset)
    return arms.Shape(config=config, num_inputs=data.x_train.shape[1], num_outputs=data.num_classes)


def _batches(data: ClassificationData, config: ImagesConfig, seed: int) -> Shuffled[Batch]:
    # The last, smaller batch of an epoch is left out, so that every step costs the same; it
    # is another one in the next epoch.
    dtype = arms.DTYPES[config.dtype]
    return Shuffled(
        _num_trained_on(data, config),
        config.batch_size,
        epochs=config.epochs,
        generator=torch.Generator().manual_seed(seed),
        take=lambda part: (data.x_train[part].to(dtype), data.y_train[part]),
    )


def _num_trained_on(data: ClassificationData, config: ImagesConfig) -> int:
    # The last tenth of the images decides between learning rates, where there are several.
    count = len(data.x_train)
    return count if len(config.learning_rates) == 1 else count - count // 10


def _held_out(data: ClassificationData, config: ImagesConfig) -> Batch | None:
    first = _num_trained_on(data, config)
    if first == len(data.x_train):
        return None
    return data.x_train[first:].to(arms.DTYPES[config.dtype]), data.y_train[first:]


def _accuracy(output: Tensor, y: Tensor) -> float:
    return (output.argmax(dim=1) == y).double().mean().item()


EXPERIMENT = Experiment(
    name="images",
    title="DEQ against feed-forward networks on images",
    claim="At equal parameters, and at equal FLOPs per training step, a DEQ classifies images "
    "better than feed-forward networks.",
    source="Asked by deqlab; the model is that of Bai, Kolter & Koltun (2019).",
    origin="asked",
    presets={
        "smoke": ImagesConfig(
            seeds=(0,), width=12, depths=(1,), epochs=1, num_evaluations=2, max_steps=20
        ),
        "quick": ImagesConfig(),
        "mnist": ImagesConfig(
            dataset="mnist", width=128, epochs=5, batch_size=128, learning_rates=(2e-3,)
        ),
        "full": ImagesConfig(seeds=tuple(range(8)), width=128, epochs=80),
    },
    page=comparison_page("test_accuracy", about="Cross-entropy."),
    check=check,
    plan=plan,
    later=matching.later,
    run=run,
    judge=lambda config, rows: judge(
        ACCURACY, rows, subject=f"On {config.dataset}", views=matching.VIEWS
    ),
)
