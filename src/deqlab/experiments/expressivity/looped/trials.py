"""One job of `sawtooth-loops`: a network trains on all sawtooths, budgets and rates at once.

A trial is one training. All of a job begin with the same weights and see the same points in the
same order, whose targets are those of their sawtooth. Those of the largest budget come first, so
that the ones that still train are always the first few.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from deqlab.experiments.base import Job, Row, progress
from deqlab.experiments.comparing.supervised import Batch
from deqlab.experiments.config import (
    TEST_SEED,
    check_at_least,
    check_at_most,
    check_increasing,
    check_positive,
    require,
)
from deqlab.experiments.expressivity.looped.networks import NetworksConfig, build
from deqlab.experiments.expressivity.looped.scores import loss_as_trained
from deqlab.experiments.expressivity.looped.side_by_side import AdamByRow, SideBySide
from deqlab.experiments.resuming import checkpoint
from deqlab.solution import Solution
from deqlab.tasks import sawtooth
from deqlab.training.batches import Shuffled
from deqlab.training.checkpoints.checkpoint import SHORT, Progress
from deqlab.training.loop import Loop

VALIDATION_SEED = TEST_SEED - 1
"""Above all training seeds."""


class Trial(NamedTuple):
    """One training of a job.

    Attributes:
        log2_regions: k, of a sawtooth of 2^k linear regions.
        budget: Its steps.
        rate: Its initial learning rate.
    """

    log2_regions: int
    budget: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class TrialsConfig(NetworksConfig):
    """How the networks train.

    Attributes:
        seeds: One job of every arm for each; they fix the initial weights, the training points and
            their order.
        log2_regions: The values of k, for 2^k linear regions; the first one is what is asked for.
        budgets: The numbers of training steps, increasing; each is a training of its own, at the
            end of which the learning rate has fallen to 0 on a cosine.
        learning_rates: Initial learning rates of Adam. Every network trains with each, and that of
            least validation loss is kept: the same search for all arms.
        clip: The largest norm of the gradient.
        train_samples: Training points, at least a batch.
        test_samples: Points of the validation and of the test set.
        progress_every: Steps from one row of progress to the next.
    """

    log2_regions: tuple[int, ...] = (5,)
    budgets: tuple[int, ...] = (6000,)
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)
    clip: float = 1.0
    train_samples: int = 2000
    test_samples: int = 4096
    progress_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "test_samples", "progress_every")
        check_at_least(self, self.batch_size, "train_samples")
        check_at_most(self, 2**20, "train_samples", "test_samples")
        check_positive(self, "clip")
        check_increasing(self, "budgets", least=1)
        for name in ("log2_regions", "learning_rates"):
            values = list(getattr(self, name))
            require(
                0 < len(set(values)) == len(values),
                f"{name} needs one or more different numbers, got {values}",
            )
        for k in self.log2_regions:
            sawtooth.check_regions(k, torch.float32)
        require(
            all(0 < rate < float("inf") for rate in self.learning_rates),
            f"learning_rates must be above 0, got {list(self.learning_rates)}",
        )
        require(
            max(self.seeds) < VALIDATION_SEED,
            f"seeds must be below {VALIDATION_SEED}, got {max(self.seeds)}: those above draw the "
            "validation and test sets",
        )

    @property
    def trials(self) -> list[Trial]:
        """The trainings of a job, those of the largest budget first."""
        return [
            Trial(k, budget, rate)
            for budget in reversed(self.budgets)
            for k in self.log2_regions
            for rate in self.learning_rates
        ]


def points(log2_regions: int, num_samples: int, seed: int) -> Batch:
    """Return points of a sawtooth; those of a seed are the same for every k."""
    generator = torch.Generator().manual_seed(seed)
    return sawtooth.sample(num_samples, log2_regions=log2_regions, generator=generator)


class Training:
    """The trials of one job, from the first step to the last.

    Attributes:
        networks: The networks, in the order of `config.trials`.
        seconds: The time of all steps so far.
    """

    def __init__(self, config: TrialsConfig, job: Job) -> None:
        self.config, self.job = config, job
        self.budgets = [trial.budget for trial in config.trials]
        self.networks = SideBySide(build(config, job), len(self.budgets))
        self.seconds = 0.0
        self._shares = [0.0] * len(self.budgets)  # of converged samples, added up over the steps
        self._taken = 0
        self._targets = {k: points(k, config.train_samples, job.seed) for k in config.log2_regions}
        self._loop = Loop(
            loss=self._loss,
            optimizer=AdamByRow(
                self.networks.flat,
                rates=[trial.rate for trial in config.trials],
                steps=self.budgets,
                clip=config.clip,
            ),
        )

    def run(self) -> Iterator[Row]:
        """Take all steps, and yield rows of progress; it goes on after an interruption."""
        batches = Shuffled(
            self.config.train_samples,
            self.config.batch_size,
            epochs=self.budgets[0],  # more than there are
            generator=torch.Generator().manual_seed(self.job.seed),
            take=lambda indices: indices,
        )
        parts = {"model": self.networks, **self._loop.parts, "batches": batches}
        with checkpoint(self.job, "trials", parts) as file:
            self._resume(file.load())
            left = islice(batches, self.budgets[0] - self._taken)
            for step in self._loop.run(left, taken=self._taken):
                self._taken, self.seconds = step.index, self.seconds + step.seconds
                self._note(step.notes)
                if step.index % self.config.progress_every == 0:
                    loss = step.loss.item() / self._active(step.index)
                    row = {"step": step.index, "train_loss": loss}
                    yield progress(row, num_steps=self.budgets[0])
                if file.due:
                    file.save(self._progress())
            if file.unsaved >= SHORT:
                file.save(self._progress())

    def converged(self, index: int) -> float:
        """Return the share of samples of a trial whose solves converged while it trained."""
        return self._shares[index] / self.budgets[index]

    def train_loss(self, index: int) -> float:
        """Return the loss of a trial on its training points."""
        trial = self.config.trials[index]
        return loss_as_trained(
            self.networks.network(index), self.config, *self._targets[trial.log2_regions]
        )

    def _active(self, step: int) -> int:
        """Return how many trials take a step: the first ones."""
        return sum(step <= budget for budget in self.budgets)

    def _loss(self, indices: Int64[Tensor, " B"]) -> tuple[Tensor, Solution | None]:
        """Return the sum of the losses of those that train; no weight is in two of them."""
        trials = self.config.trials[: self._active(self._taken + 1)]
        x = self._targets[trials[0].log2_regions][0][indices]
        y = {k: target[indices] for k, (_, target) in self._targets.items()}
        output, solution = self.networks(x, len(trials))
        wanted = torch.stack([y[trial.log2_regions] for trial in trials])
        return (output - wanted).square().mean(dim=(1, 2)).sum(), solution

    def _note(self, solution: Solution | None) -> None:
        if solution is not None:
            shares = solution.converged.double().view(self._active(self._taken), -1).mean(dim=1)
            for index, share in enumerate(shares.tolist()):
                self._shares[index] += share

    def _progress(self) -> Progress:
        return {
            "step": self._taken,
            "num_steps": self.budgets[0],
            "seconds": self.seconds,
            "shares": self._shares,
        }

    def _resume(self, progress: Progress | None) -> None:
        if progress is not None:
            self._taken, self.seconds = progress["step"], progress["seconds"]
            self._shares = progress["shares"]


def kept(config: TrialsConfig, training: Training) -> Iterator[tuple[int, list[Row]]]:
    """Yield for each sawtooth and budget the trial that is kept, and rows about the search."""
    validation = {k: points(k, config.test_samples, VALIDATION_SEED) for k in config.log2_regions}
    found: dict[tuple[int, int], dict[int, float]] = {}
    for index, trial in enumerate(config.trials):
        network = training.networks.network(index)
        loss = loss_as_trained(network, config, *validation[trial.log2_regions])
        # A nan loses against any number.
        loss = math.inf if math.isnan(loss) else loss
        found.setdefault((trial.budget, trial.log2_regions), {})[index] = loss
    for losses in found.values():
        rows = [
            {
                "kind": "search",
                **setting(config.trials[index]),
                "learning_rate": config.trials[index].rate,
                "validation_loss": loss,
            }
            for index, loss in losses.items()
        ]
        yield min(losses, key=lambda index: losses[index]), rows


def setting(trial: Trial) -> Row:
    """Return the fields that say what a trial was trained on, and for how long."""
    k, budget = trial.log2_regions, trial.budget
    words = f"2^{k} regions, {budget:,} steps"
    return {"setting": words, "log2_regions": k, "budget": budget}
