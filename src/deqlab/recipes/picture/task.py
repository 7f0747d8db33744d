"""The pixels of one picture, and networks that say what is at each of them.

There is nothing to generalise to: a network is trained and tested on all pixels, and the learning
rate that fits them best is kept. The state of each pixel is kept from one epoch to the next, as the
start of its next solve; a DEQ that has a start of its own is solved from there.
"""

import math
from collections.abc import Iterator
from typing import Any, TypeGuard

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from typing_extensions import override

from deqlab.costs import num_parameters
from deqlab.experiments.base import Row
from deqlab.nn.models.coordinates import Field, InjectedLayers
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.picture.config import PictureConfig
from deqlab.recipes.task import Metric, psnr
from deqlab.tasks.pictures import coordinates, dead_leaves, photograph
from deqlab.training.batches import Shuffled
from deqlab.training.equilibrium import at_iterates, verdicts
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of
from deqlab.training.warm_starts import WarmStarts

DRAWN = 0
"""The seed of the picture that is made: that of a training draws weights and batches."""

EXACT = 1e-12
"""A mean square error that counts as none: 120 dB."""


class PictureTask(StepsTask[Int64[Tensor, " B"]]):
    """Pixels by their numbers, row by row.

    Attributes:
        picture: Its greys, from 0 to 1.
        x: The coordinates of each pixel, from -1 to 1.
        starts: The state of each pixel in the training that began last.
    """

    metric: Metric = psnr()

    def __init__(self, config: PictureConfig) -> None:
        super().__init__(config)
        self.config: PictureConfig = config
        self.data: None = None
        self.picture = picture_of(config)
        self.x = coordinates(config.size, config.size).flatten(0, 1)
        self._y = 2 * self.picture.reshape(-1, 1) - 1
        self.starts = WarmStarts(len(self.x))

    @override
    def batches(self, generator: torch.Generator) -> Shuffled[Int64[Tensor, " B"]]:
        self.starts = WarmStarts(len(self.x))
        per_epoch = max(1, len(self.x) // self.config.batch_size)
        return Shuffled(
            len(self.x),
            self.config.batch_size,
            epochs=-(-self.config.steps // per_epoch),
            generator=generator,
            take=lambda rows: rows,
        )

    @property
    @override
    def parts(self) -> dict[str, WarmStarts]:
        return {"starts": self.starts}

    @override
    def loss(self, model: nn.Module, batch: Int64[Tensor, " B"]) -> Tensor:
        x, y = self.x[batch], self._y[batch]
        if not _is_warm(model):
            return mse_loss(model(x), y)
        values, states = model.with_states(x, self._start(model, batch))
        self.starts.keep(batch, states)
        return mse_loss(values, y)

    @override
    def tested(self, model: nn.Module) -> Row:
        row = self._solved(model)
        if _is_warm(model):  # at the same weights, from where training left each pixel
            model(self.x, self._start(model, torch.arange(len(self.x))))
            row["warm_evaluations"] = verdicts(model)["test_evaluations"]
        return row

    @override
    def validated(self, model: nn.Module) -> float:
        loss: float = evaluated(model, self._solved)["test_loss"]
        return loss

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        """Yield the picture of the network, and beside a DEQ that which was to be learned."""
        kind = "injected layers" if isinstance(model, InjectedLayers) else "layers"
        if layers_of(model):
            kind = "DEQ"
            yield self._shown("the picture", self.picture)
            yield from ({"kind": "feedback", **row} for row in at_iterates(model, self._solved))
        made = evaluated(model, lambda model: {"picture": self._made(model)})["picture"]
        yield self._shown(f"{kind}, {num_parameters(model):,} weights", made)

    @override
    def about(self) -> dict[str, Any]:
        return {}

    def _start(self, model: Field, rows: Int64[Tensor, " B"]) -> Tensor:
        return self.starts.of(rows, model.initial(self.x[rows]))

    def _made(self, model: nn.Module) -> Float[Tensor, "size size"]:
        """Return the picture of a network, cut off at black and white."""
        values: Tensor = model(self.x)
        return ((values + 1) / 2).clamp(0, 1).view_as(self.picture)

    def _shown(self, what: str, picture: Float[Tensor, "size size"]) -> Row:
        pixels = [[round(grey, 3) for grey in line] for line in picture.tolist()]
        return {"kind": "picture", "of": self.config.picture, "shown": what, "pixels": pixels}

    def _solved(self, model: nn.Module) -> Row:
        """Return how a network does that is solved from where it starts by itself."""
        error = mse_loss(self._made(model), self.picture).item()
        return {
            "psnr": -10 * math.log10(max(error, EXACT)),
            "test_loss": error,
            **verdicts(model),
        }


def _is_warm(model: nn.Module) -> TypeGuard[Field]:
    """Return whether a network is a DEQ that has no start of its own."""
    return isinstance(model, Field) and model.states.start is None


def picture_of(config: PictureConfig) -> Float[Tensor, "size size"]:
    """Return the picture of a config.

    Raises:
        DataError: The package that brings it is not installed.
    """
    if config.picture == "dead-leaves":
        generator = torch.Generator().manual_seed(DRAWN)
        return dead_leaves(1, config.size, generator=generator)[0, 0]
    return photograph(config.picture, config.size)
