"""Training on images with flips and shifts, and what is known after each epoch."""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from deqlab.nn.models.pair import forward
from deqlab.solution import Solution
from deqlab.stability.equilibria import Solves
from deqlab.tasks.files.images import ImageData
from deqlab.training.batches import Shuffled
from deqlab.training.checkpoints.checkpoint import SHORT, Keep, Progress, keep_nothing
from deqlab.training.loop import Loop

ROWS = 100
"""How many images are tested at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images and their classes, for training and for testing."""

    x_train: Float[Tensor, "n C H W"]
    y_train: Int64[Tensor, " n"]
    x_test: Float[Tensor, "m C H W"]
    y_test: Int64[Tensor, " m"]

    @classmethod
    def of(cls, data: ImageData) -> "Images":
        """Return the images of a data set, which holds them as rows."""
        x_train, x_test = (x.view(-1, *data.shape) for x in (data.x_train, data.x_test))
        return cls(x_train=x_train, y_train=data.y_train, x_test=x_test, y_test=data.y_test)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images of a step; the last, smaller batch of an epoch is left out.
        learning_rate: The learning rate of AdamW at the peak of its cycle.
        weight_decay: The weight decay of AdamW.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


@dataclass
class _Epoch:
    """What is known of the steps of an epoch so far."""

    losses: list[float] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    converged: list[float] = field(default_factory=list)

    def add(self, loss: Tensor, solution: Solution | None) -> None:
        self.losses.append(loss.item())
        if solution is not None:
            self.evaluations.append(solution.evaluations)
            self.converged.append(solution.converged.double().mean().item())

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"train_loss": fmean(self.losses)}
        if self.evaluations:
            row["evaluations"] = fmean(self.evaluations)
            row["train_converged"] = fmean(self.converged)
        return row


def epochs(
    model: nn.Sequential,
    images: Images,
    recipe: Recipe,
    generator: torch.Generator,
    keep: Keep = keep_nothing,
) -> Iterator[dict[str, Any]]:
    """Train `model`, and yield a row after each epoch: the model is then as the row says.

    In a run that goes on, rows of epochs before the interruption come first, with the model as the
    checkpoint has it.

    Args:
        model: (features, readout), trained in place.
        images: What it is trained and tested on.
        recipe: How it is trained.
        generator: Draws the order of the images, flips and shifts.
        keep: Makes the checkpoint, to whose parts the caller may add others.
    """
    batches = Shuffled(
        len(images.x_train),
        recipe.batch_size,
        epochs=recipe.epochs,
        generator=generator,
        take=lambda part: part,
    )
    loop = _loop(model, images, recipe, generator, len(batches))
    progress: Progress = {"step": 0, "num_steps": len(batches), "seconds": 0.0, "rows": []}
    with keep({"model": model, **loop.parts, "batches": batches}) as checkpoint:
        progress = checkpoint.load() or progress
        epoch = _Epoch(**progress.pop("epoch", {}))
        yield from progress["rows"]
        for step in loop.run(batches, taken=progress["step"]):
            epoch.add(step.loss, step.notes)
            progress["step"] = step.index
            progress["seconds"] += step.seconds
            if step.index % batches.per_epoch == 0:
                row = _row(step.index, epoch, tested(model, images), batches, progress["seconds"])
                progress["rows"].append(row)
                epoch = _Epoch()
                yield row
            if checkpoint.due:
                checkpoint.save({**progress, "epoch": asdict(epoch)})
        if checkpoint.unsaved >= SHORT:
            checkpoint.save({**progress, "epoch": asdict(epoch)})


def _loop(
    model: nn.Sequential, images: Images, recipe: Recipe, generator: torch.Generator, steps: int
) -> Loop[Tensor, Solution | None]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps
    )

    def loss(part: Tensor) -> tuple[Tensor, Solution | None]:
        _, scores, solution = forward(model, augmented(images.x_train[part], generator))
        return cross_entropy(scores, images.y_train[part]), solution

    return Loop(loss=loss, optimizer=optimizer, schedule=schedule)


def _row(
    step: int, epoch: _Epoch, test: dict[str, Any], batches: Shuffled[Tensor], seconds: float
) -> dict[str, Any]:
    number = {"step": step, "epoch": step // batches.per_epoch}
    return {**number, **epoch.row(), **test, "seconds": seconds}


def augmented(x: Float[Tensor, "B C H W"], generator: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Flip half of the colour images, and shift the batch by up to an eighth of its height."""
    channels, height, width = x.shape[1:]
    if channels == 3:  # the mirror image of a digit is none
        flipped = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        x = torch.where(flipped, x.flip(3), x)
    most = height // 8
    down, right = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    return pad(x, (most,) * 4)[:, :, down : down + height, right : right + width]


@torch.no_grad()
def tested(model: nn.Sequential, images: Images) -> dict[str, Any]:
    """Return the test accuracy, and for a DEQ how well its equilibria were solved."""
    right: list[Tensor] = []
    solves = Solves()
    for x, y in zip(images.x_test.split(ROWS), images.y_test.split(ROWS), strict=True):
        _, scores, solution = forward(model, x)
        right.append(scores.argmax(dim=1) == y)
        if solution is not None:
            solves.add(solution, size=_size(solution))
    row: dict[str, Any] = {"test_accuracy": torch.cat(right).double().mean().item()}
    row |= solves.row("residual", "residual_max", "converged")
    return row | ({"test_evaluations": solves.evaluations} if solves.residuals else {})


@dataclass
class Nearest:
    """The network as it was after the epoch whose test accuracy is nearest to `target`.

    Of several equally near the last one. A target of None is met by the last epoch. It is a part
    of a checkpoint: epochs that it saw before an interruption are passed over when they come again.
    """

    target: float | None
    row: dict[str, Any] | None = None
    state: dict[str, Tensor] | None = None
    seen: int = 0

    def see(self, row: dict[str, Any], model: nn.Module) -> None:
        """Keep the network if it is at least as near as the one that is kept."""
        if row["epoch"] <= self.seen:
            return
        self.seen = row["epoch"]
        if self.row is None or self._gap(row) <= self._gap(self.row):
            self.row, self.state = row, copy.deepcopy(model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept."""
        return {"row": self.row, "state": self.state, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep what a checkpoint has."""
        self.row, self.state, self.seen = state["row"], state["state"], state["seen"]

    def _gap(self, row: dict[str, Any]) -> float:
        gap: float = 0.0 if self.target is None else abs(row["test_accuracy"] - self.target)
        return gap


def _size(solution: Solution[Any]) -> Float[Tensor, " B"]:
    """Return |z| of each sample, over all resolutions."""
    assert isinstance(solution.value, tuple)
    parts = [part.double().flatten(1) for part in solution.value]
    size: Tensor = torch.linalg.vector_norm(torch.cat(parts, dim=1), dim=1)
    return size
