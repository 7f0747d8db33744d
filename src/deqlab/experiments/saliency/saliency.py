"""Saliency maps of a multiscale DEQ and of a residual network of the same accuracy.

Expected: the DEQ's maps are spread over more of the picture, for its features are denser. Source:
Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and Learning
Dynamics", Figure 6: Grad-CAM maps of MDEQ and ResNet-50 on horses and dogs. Networks, data and the
numbers for spread are ours: both are small, and are trained here on the images at hand.

The rule that makes accuracies equal, fixed beforehand: the DEQ is trained first, to its last epoch;
the residual network is taken at the epoch whose test accuracy is nearest to the DEQ's, the later
one of two. Its last epoch is reported beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec

import torch
from torch import nn

from deqlab.costs import num_parameters
from deqlab.experiments.base import Experiment, Job, Row, summaries
from deqlab.experiments.config import (
    Config,
    UsageError,
    check_at_least,
    check_dataset,
    check_positive,
    require,
)
from deqlab.experiments.resuming import checkpoint, kept
from deqlab.experiments.saliency.rows import heat_maps, photos, spread
from deqlab.experiments.saliency.saliency_report import MATCHED, PAGE, UNTRAINED, judge
from deqlab.nn.models import pair
from deqlab.solvers.anderson import Anderson
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.loading import load
from deqlab.training.images import Images, Nearest, Recipe, epochs, tested

LABELS = {"deq": "Multiscale DEQ", "resnet": "Residual network"}


@dataclass(frozen=True, kw_only=True)
class SaliencyConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: They fix initialisation and the order of the images.
        dataset: An image set of `tasks`.
        channels: The channels of the DEQ's state, the finest resolution first: two multiples of 4.
        epochs: Epochs of the DEQ.
        resnet_epochs: Epochs of the residual network, which needs more of them and less time for
            each.
        batch_size: Images of a training step.
        learning_rate: The learning rate of AdamW at the peak of its cycle.
        weight_decay: The weight decay of AdamW.
        rtol: The relative tolerance of the DEQ's solves.
        max_steps: The most evaluations of f.
        num_images: How many test images have maps that are compared, the first ones; all of them
            if there are fewer.
        shown: Classes whose maps the report shows.
        shown_each: How many images of each.
    """

    seeds: tuple[int, ...] = (0,)
    dataset: str = "cifar10"
    channels: tuple[int, ...] = (16, 32)
    epochs: int = 8
    resnet_epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    rtol: float = 1e-3
    max_steps: int = 50
    num_images: int = 800
    shown: tuple[int, ...] = (7, 5)
    shown_each: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dataset(self, "dataset", ImageData)
        counts = ("epochs", "resnet_epochs", "batch_size", "max_steps", "num_images", "shown_each")
        check_at_least(self, 1, *counts)
        check_at_least(self, 0, "weight_decay")
        check_positive(self, "learning_rate", "rtol")
        require(
            len(self.channels) == 2 and all(c > 0 and c % pair.GROUPS == 0 for c in self.channels),
            f"channels needs two multiples of {pair.GROUPS}, got {list(self.channels)}",
        )
        require(
            all(0 <= c < 10 for c in self.shown),
            f"shown are classes 0 to 9, got {list(self.shown)}",
        )


def check(config: SaliencyConfig) -> None:
    """Raise UsageError without captum, and DataError unless the data set is here, and sound."""
    if find_spec("captum") is None:
        raise UsageError(
            "saliency needs the package captum, which is not installed; "
            "pip install 'deqlab[saliency]'"
        )
    read(config.dataset)


@lru_cache(maxsize=1)
def read(dataset: str) -> ImageData:
    """Return the data set, kept in memory for the next job."""
    data: ImageData = load(dataset)
    return data


def plan(config: SaliencyConfig, rows: Sequence[Row]) -> list[Job]:
    """Return a DEQ a seed, and for each that is done its residual network."""
    jobs = [Job(arm="deq", seed=seed) for seed in config.seeds]
    for row in summaries(rows):
        if row["arm"] == "deq":
            settings = {"target": row["test_accuracy"]}
            jobs.append(Job(arm="resnet", seed=row["seed"], settings=settings))
    return jobs


def run(config: SaliencyConfig, job: Job) -> Iterator[Row]:
    """Train one network, and measure its maps."""
    data = read(config.dataset)
    images, model = Images.of(data), _network(config, job)
    target = job.settings.get("target")

    def maps(trained: Row, taken: str) -> list[Row]:
        make = partial(spread, model, images, config.num_images, trained, taken)
        return kept(job, taken, make, {"model": model})

    yield from maps({"epoch": 0, **tested(model, images)}, UNTRAINED)
    nearest, row = Nearest(target), {}
    generator = torch.Generator().manual_seed(job.seed)
    keep = lambda parts: checkpoint(job, "training", {**parts, "nearest": nearest})  # noqa: E731
    for row in epochs(model, images, _recipe(config, job), generator, keep):
        nearest.see(row, model)
        yield {"kind": "step", **row}
    assert nearest.row is not None
    assert nearest.state is not None
    if nearest.row["epoch"] != row["epoch"]:
        yield from maps(row, "last epoch")
        model.load_state_dict(nearest.state)
    yield from maps(nearest.row, MATCHED)
    if job.seed == config.seeds[0]:
        for label in config.shown:
            places = (data.y_test == label).nonzero()[: config.shown_each, 0]
            if job.arm == "deq":
                yield from photos(data, places)
            yield from heat_maps(model, data, places, LABELS[job.arm])
    yield {
        "kind": "summary",
        "label": LABELS[job.arm],
        "matching": None if job.arm == "deq" else "accuracy",
        **nearest.row,
        "target": nearest.row["test_accuracy"] if target is None else target,
        "parameters": num_parameters(model),
        "seconds": row["seconds"],
    }


def _network(config: SaliencyConfig, job: Job) -> nn.Sequential:
    data = read(config.dataset)
    shape = pair.Shape(images=data.shape, num_classes=data.num_classes)
    if job.arm == "resnet":
        return pair.residual(shape, pair.matching_width(shape, config.channels))
    solver = Anderson(rtol=config.rtol, max_steps=config.max_steps)
    return pair.deq(shape, config.channels, solver)


def _recipe(config: SaliencyConfig, job: Job) -> Recipe:
    return Recipe(
        epochs=config.epochs if job.arm == "deq" else config.resnet_epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
    )


EXPERIMENT = Experiment(
    name="saliency",
    title="Where a DEQ looks: Grad-CAM of a multiscale DEQ and of a residual network",
    claim="The saliency maps of a multiscale DEQ are more spread than those of a residual network "
    "of the same accuracy, for its features are denser.",
    source="Wu et al. (2024), Figure 6.",
    origin="published",
    presets={
        "smoke": SaliencyConfig(
            dataset="digits",
            channels=(4, 4),
            epochs=1,
            resnet_epochs=2,
            num_images=40,
            shown_each=1,
        ),
        "quick": SaliencyConfig(),
        "full": SaliencyConfig(seeds=tuple(range(8)), epochs=30, resnet_epochs=40),
    },
    page=PAGE,
    check=check,
    plan=plan,
    later=lambda config, rows: 2 * len(config.seeds) - len(plan(config, rows)),
    run=run,
    judge=lambda config, rows: judge(rows),
)
