"""DEQs against the shallow explicit networks that have their kernel, at equal width.

Expected: in high dimension a DEQ with random weights and an explicit network of two L-ReLU layers
(or one H-Tanh layer, for tanh) have the same conjugate kernel, so that a readout trained on one
is as accurate as on the other, and the explicit network is faster. Source: Ling et al. (2024),
"Deep Equilibrium Models are Almost Equivalent to Not-so-deep Explicit Models for High-dimensional
Gaussian Mixtures", arXiv:2402.02697, accuracy and time against width. All random layers are
frozen and only the readout is trained. Of CIFAR-10 there are 4,000 images here, and features of a
smaller network than the published VGG-16; see `features`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from deqlab.costs import flops, seconds
from deqlab.experiments.base import Experiment, Job, Row, cross_by_seed
from deqlab.experiments.comparing.arms import SOLVERS
from deqlab.experiments.comparing.evidence import WELL_SOLVED
from deqlab.experiments.config import (
    Config,
    check_at_least,
    check_choice,
    check_dataset,
    check_increasing,
    check_positive,
    require,
)
from deqlab.experiments.matched.arms import ARMS, TAU0, Arm
from deqlab.experiments.matched.matched_networks_report import PAGE, verdict
from deqlab.experiments.resuming import kept
from deqlab.inputs.classification import Inputs, draw, load_inputs
from deqlab.kernels.frozen import Network, accuracy, features, outputs, train_readout
from deqlab.kernels.network import ImplicitNetwork
from deqlab.kernels.spectra import scaled_errors
from deqlab.stability.equilibria import Solves
from deqlab.tasks.files.classification import ClassificationData
from deqlab.tasks.files.loading import load


@dataclass(frozen=True, kw_only=True)
class MatchedConfig(Config):
    """The fields of the experiment; the defaults are the published settings for MNIST.

    Attributes:
        seeds: One job of every arm for each; they fix the images that are drawn, the random
            layers, and the order of training.
        data: A classification set of `tasks`.
        train_per_class: Training images of each class, or all of those that have fewer.
        test_per_class: Test images, likewise.
        widths: The widths of the networks, increasing.
        epochs: Passes of the readout's training over the training images.
        batch_size: Images of a training step.
        learning_rate: The learning rate of SGD; published: 1, and 0.1 for CIFAR-10.
        sigma_a2: The variance of the DEQ's recurrent weights.
        solver: The solver of the DEQ: "picard", the faster for maps that contract as much, or
            "anderson".
        rtol: Its relative tolerance.
        max_steps: Its most evaluations of f.
        timing_repeats: Forward passes of which the median time is taken.
        kernel_samples: Training images on which the exact kernels are compared.
        extractor_epochs: Epochs of the feature extractor, for photographs.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    data: str = "mnist"
    train_per_class: int = 5000
    test_per_class: int = 800
    widths: tuple[int, ...] = (32, 128, 256, 1024, 4096)
    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1.0
    sigma_a2: float = 0.2
    solver: str = "picard"
    rtol: float = 1e-3
    max_steps: int = 100
    timing_repeats: int = 5
    kernel_samples: int = 400
    extractor_epochs: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dataset(self, "data", ClassificationData)
        check_choice(self, "solver", ("anderson", "picard"))  # others need small widths
        check_at_least(self, 1, "train_per_class", "test_per_class", "epochs", "batch_size")
        check_at_least(self, 1, "max_steps", "timing_repeats", "kernel_samples")
        check_at_least(self, 1, "extractor_epochs")
        check_positive(self, "learning_rate", "rtol", "sigma_a2")
        require(self.sigma_a2 < 1, f"sigma_a2 must be below 1, got {self.sigma_a2}")
        check_increasing(self, "widths", least=1)


def check(config: MatchedConfig) -> None:
    """Raise a ValueError unless the data set is here, and sound, and the DEQs have a match."""
    load(config.data)
    for arm in ARMS.values():
        arm.kernel(config.sigma_a2)


def run(config: MatchedConfig, job: Job) -> Iterator[Row]:
    """Train and time one arm at every width; rows of kind "point", and the summary."""
    arm, inputs = ARMS[job.arm], _inputs(config, job.seed)
    points: list[Row] = []
    for width in config.widths:
        points += kept(job, f"width-{width}", partial(_point, config, job, width, inputs))
        yield {"kind": "point", **points[-1]}
    yield {
        "kind": "summary",
        "label": arm.label,
        "matching": arm.matching,
        "family": arm.family,
        "role": arm.role,
        **_kernel_errors(config, arm, inputs),
        "train_samples": len(inputs.x_train),
        "test_samples": len(inputs.x_test),
        "extractor_accuracy": inputs.extractor_accuracy,
        **points[-1],
    }


def _inputs(config: MatchedConfig, seed: int) -> Inputs:
    every = load_inputs(config.data, config.extractor_epochs)
    generator = torch.Generator().manual_seed(seed)
    return draw(every, config.train_per_class, config.test_per_class, generator)


def _point(config: MatchedConfig, job: Job, width: int, inputs: Inputs) -> Iterator[Row]:
    arm, solves = ARMS[job.arm], Solves()
    network = _network(config, arm, job.seed, width, inputs)
    train = features(network, inputs.x_train, solves.add)
    count, test = flops(partial(features, network, inputs.x_test, solves.add))
    train_loss = train_readout(
        network.readout,
        train,
        inputs.y_train,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        generator=torch.Generator().manual_seed(job.seed),
    )
    row = solves.row()
    # A network that is not at its own equilibrium is no DEQ, and has no accuracy as one.
    solved = row.get("converged", 1.0) >= WELL_SOLVED
    yield {
        "width": width,
        "test_accuracy": accuracy(network.readout, test, inputs.y_test) if solved else None,
        "train_loss": train_loss,
        "flops": count / len(test),
        **_timed(config, arm, network, job.seed, inputs),
        **row,
    }


def _timed(config: MatchedConfig, arm: Arm, network: Network, seed: int, inputs: Inputs) -> Row:
    """Time the forward pass of the test images, in turns with the DEQ of the same width."""
    networks = [network]
    if arm.role != "deq":
        width = network.readout.in_features
        networks.append(_network(config, ARMS[arm.deq], seed, width, inputs))
    passes = [partial(outputs, each, inputs.x_test) for each in networks]
    own, *others = seconds(passes, config.timing_repeats)
    return {"inference_seconds": own, "speedup": others[0] / own if others else 1.0}


def _network(config: MatchedConfig, arm: Arm, seed: int, width: int, inputs: Inputs) -> Network:
    # One stream of random numbers for each seed and width, the same in all arms.
    generator = torch.Generator().manual_seed(seed * 2**20 + width)
    network = arm.kernel(config.sigma_a2).network(
        inputs.x_train.shape[1], width, inputs.num_classes, tau0=TAU0, generator=generator
    )
    if isinstance(network, ImplicitNetwork):
        network.solver = SOLVERS[config.solver](rtol=config.rtol, max_steps=config.max_steps)
        # Failures do not warn at every width: every row carries the share that converged.
        network.on_failure = "ignore"
    return network


def _kernel_errors(config: MatchedConfig, arm: Arm, inputs: Inputs) -> Row:
    """Compare the exact kernel with the DEQ's: as it is, and at its best scale."""
    if arm.role == "deq":
        return {"kernel_error": 0.0, "kernel_error_scaled": 0.0}
    x = inputs.x_train[: config.kernel_samples]
    own, deq = (
        each.kernel(config.sigma_a2).conjugate(x, tau0=TAU0) for each in (arm, ARMS[arm.deq])
    )
    error, scaled = scaled_errors(own, deq)
    return {"kernel_error": error, "kernel_error_scaled": scaled}


EXPERIMENT = Experiment(
    name="matched-networks",
    title="DEQs against the shallow networks that match them",
    claim="A DEQ with random weights and the shallow explicit network with its kernel are equally "
    "accurate at equal width, and the explicit network is faster.",
    source="Ling et al. (2024), arXiv:2402.02697, accuracy and time against width; CIFAR-10 with "
    "fewer images and other features.",
    origin="published",
    presets={
        "smoke": MatchedConfig(
            seeds=(0, 1),
            data="digits",
            train_per_class=50,
            test_per_class=20,
            widths=(32, 64),
            epochs=2,
            timing_repeats=1,
            kernel_samples=40,
        ),
        "quick": MatchedConfig(train_per_class=500, test_per_class=200, widths=(32, 128, 512)),
        "cifar10": MatchedConfig(data="cifar10", learning_rate=0.1),
        "full": MatchedConfig(),
    },
    page=PAGE,
    check=check,
    plan=cross_by_seed(ARMS),
    run=run,
    judge=lambda config, rows: verdict(rows, subject=f"On {config.data}"),
)
