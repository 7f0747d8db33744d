"""Training a network of a table, with early stopping on rows that are held out.

After each epoch the loss on the held-out rows is measured; training ends where it has not fallen
for some epochs, and the weights of the best epoch are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from deqlab.estimators.network import Standardised
from deqlab.training.batches import Shuffled
from deqlab.training.best_weights import BestWeights
from deqlab.training.early_stop import EarlyStop
from deqlab.training.fit import Row, fit_rows
from deqlab.training.loop import Loop

FEWEST = 10
"""Rows below which nothing is held out: training then takes all its epochs."""

PART = 4096
"""Rows that are predicted at a time."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is trained; see `TableEstimator`.

    Attributes:
        learning_rate: That of AdamW.
        weight_decay: Likewise.
        batch_size: Rows of a step.
        max_epochs: Passes over the rows, at most.
        patience: Epochs without a smaller loss on held-out rows after which training ends.
        validation_fraction: The share of rows that is held out.
        seed: Draws the first weights, the held-out rows and the order of the batches.
    """

    learning_rate: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int
    validation_fraction: float
    seed: int


def trained(
    make: Callable[[], nn.Module],
    x: Float64[np.ndarray, "N n"],
    y: Shaped[np.ndarray, " N"],
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: Settings,
) -> tuple[Standardised, list[Row]]:
    """Return a network that was trained on rows of a table, and a row for each epoch.

    Args:
        make: Makes the body of the network, its weights from torch's global generator.
        x: The features.
        y: Classes, whole numbers from 0 on; or the targets of a regression, float64.
        loss: The loss of answers and targets, (); of a regression those in units of the target's
            standard deviation.
        settings: How.
    """
    classes = not np.issubdtype(y.dtype, np.floating)
    kept, held_out = split(x, y, settings, stratify=classes)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        body = make()
    network = Standardised(body, x[kept], None if classes else y[kept])
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    unit = torch.ones(()) if network.unit is None else network.unit

    def loss_of(answers: Tensor, rows: Int64[Tensor, " B"]) -> Tensor:
        if classes:
            return loss(answers, targets[rows])
        return loss(answers / unit, targets[rows] / unit)

    def evaluate(model: nn.Module) -> Row:
        if not len(held_out):
            return {}
        return {"validation_loss": loss_of(answers_of(model, inputs[held_out]), held_out).item()}

    batches = Shuffled(
        len(kept),
        settings.batch_size,
        epochs=settings.max_epochs,
        generator=torch.Generator().manual_seed(settings.seed),
        take=kept.__getitem__,
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    loop: Loop[Int64[Tensor, " B"], None] = Loop(
        loss=lambda rows: (loss_of(network(inputs[rows]), rows), None), optimizer=optimizer
    )
    metric = "validation_loss" if len(held_out) else "train_loss"
    best, history = BestWeights(metric), []
    for row in fit_rows(
        network,
        loop,
        batches,
        evaluate=evaluate,
        every=batches.per_epoch,
        early_stop=EarlyStop(metric, settings.patience) if len(held_out) else None,
        progress=False,
    ):
        best.see(network, row)
        history.append(row)
    best.restore(network)
    return network.eval(), history


def split(
    x: Float64[np.ndarray, "N n"],
    y: Shaped[np.ndarray, " N"],
    settings: Settings,
    *,
    stratify: bool,
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " v"]]:
    """Return the rows that are trained on, and those that are held out.

    Each class is held out by its share, where every class has two rows and the held-out rows are
    as many as the classes.
    """
    every = torch.arange(len(x))
    if len(x) < FEWEST:
        return every, every[:0]
    count = int(np.ceil(settings.validation_fraction * len(x)))
    sizes = np.unique(y, return_counts=True)[1] if stratify else np.array([], dtype=int)
    by_class = stratify and sizes.min() >= 2 and len(sizes) <= min(count, len(x) - count)
    kept, held_out = train_test_split(
        every.numpy(),
        test_size=count,
        random_state=settings.seed,
        stratify=y if by_class else None,
    )
    return torch.from_numpy(kept), torch.from_numpy(held_out)


def answers_of(model: nn.Module, x: Float[Tensor, "N n"]) -> Float[Tensor, "N ..."]:
    """Return what a network answers, a part of the rows at a time, without a tape."""
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(PART)])
