"""Pictures that are measured with noise, and how well networks reconstruct them."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.loops import Loops
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.inverse.config import ReconstructionConfig
from deqlab.recipes.task import Metric, psnr
from deqlab.tasks.pictures import dead_leaves, photographs
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import Labelled, assessed
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of

TO_THE_END = 1e-7
"""A relative tolerance that few pictures meet in float32: a solver takes all its steps, or ends
where there is nothing left to gain."""

EXACT = 1e-12
"""The mean square error that counts as none: 120 dB."""

SHOWN = 3
"""Pictures of the test that a run keeps."""

DRAWN, FRESH = 0, 2**31 - 1
"""Seeds of the pictures and of the noise on those that are not trained on."""


class ReconstructionTask(StepsTask[Labelled]):
    """Measurements and pictures; the noise of each batch is drawn anew.

    Attributes:
        test: Measurements and pictures to test on.
    """

    metric: Metric = psnr()

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__(config)
        self.config: ReconstructionConfig = config
        self.data: None = None
        self._measurement = config.measurement()
        pictures = pictures_of(config)
        kept = config.test_size
        fresh = torch.Generator().manual_seed(FRESH)
        self.test = self._measured(pictures[:kept], fresh)
        self._choice = self._measured(pictures[kept : 2 * kept], fresh)
        self._train = pictures[2 * kept :]

    @override
    def batches(self, generator: torch.Generator) -> Drawn[Labelled]:
        return Drawn(self.config.steps, generator, self._draw)

    @override
    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        y, x = batch
        error: Tensor = model(y) - x
        return error.square().mean()

    @override
    def tested(self, model: nn.Module) -> Row:
        return self._on(model, self.test)

    @override
    def validated(self, model: nn.Module) -> float:
        return -float(self._on(model, self._choice)["psnr"])

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        y, x = self.test
        yield {"kind": "measured", **scored(y, x)}
        yield from self._shown(model)
        yield from super().examined(model)
        for count in self.config.iterations:
            looped, solved = copy.deepcopy(model), copy.deepcopy(model)
            for layer in layers_of(looped).values():
                layer.gradient = Loops(steps=count)
            for layer in layers_of(solved).values():
                layer.gradient = Implicit()
            by_solver = assessed(solved, self.test, scored, rtol=TO_THE_END, max_steps=count)
            yield {
                "kind": "iterations",
                "iterations": count,
                **self._on(looped, self.test),
                "solver_psnr": by_solver["psnr"],
                "solver_residual": by_solver["residual"],
            }

    @override
    def about(self) -> dict[str, Any]:
        return {}

    def _shown(self, model: nn.Module) -> Iterator[Row]:
        """Yield a few pictures of the test, as rows that `page.Images` draws."""
        y, x = (part[:SHOWN] for part in self.test)
        restored = evaluated(model, lambda model: {"pictures": model(y)})["pictures"]
        for what, shown in (("true", x), ("measured", y), ("restored", restored)):
            for number, picture in enumerate(shown.nan_to_num().clamp(0, 1)[:, 0], start=1):
                pixels = [[round(value, 3) for value in line] for line in picture.tolist()]
                yield {"kind": "picture", "picture": number, "shows": what, "pixels": pixels}

    def _draw(self, generator: torch.Generator) -> Labelled:
        rows = torch.randint(len(self._train), (self.config.batch_size,), generator=generator)
        return self._measured(self._train[rows], generator)

    def _measured(self, x: Tensor, generator: torch.Generator) -> Labelled:
        noise = torch.randn(x.shape, generator=generator)
        return self._measurement(x) + self.config.noise * noise, x

    def _on(self, model: nn.Module, data: Labelled) -> Row:
        config = self.config
        return assessed(model, data, scored, rtol=config.rtol, max_steps=config.max_steps)


def pictures_of(config: ReconstructionConfig) -> Float[Tensor, "N 1 size size"]:
    """Return the pictures of a config in a fixed random order, those to test on first.

    Raises:
        DataError: The photographs cannot be read.
        ValueError: There are fewer than the config asks for.
    """
    generator = torch.Generator().manual_seed(DRAWN)
    wanted = 2 * config.test_size + config.train_size
    if config.pictures == "dead-leaves":
        return dead_leaves(wanted, config.size, generator=generator)
    tiles = photographs(config.size)
    if len(tiles) < max(wanted, 2 * config.test_size + 1):
        raise ValueError(
            f"the photographs have {len(tiles)} tiles of {config.size} x {config.size} pixels, and "
            f"test_size = {config.test_size} (twice) with train_size = {config.train_size} takes "
            "more: lower one of them, or size"
        )
    order = torch.randperm(len(tiles), generator=generator)
    return tiles[order[: wanted if config.train_size else None]]


def scored(z: Tensor, x: Tensor) -> Row:
    """Return 10 log10(1 / mean square error) of all pictures together, and that error.

    Together, because pictures are the tiles of photographs: their mean in decibels would be one of
    tiles of the sky, which nothing blurs.
    """
    error = (z.double() - x).square().mean().clamp_min(EXACT)
    return {"psnr": -10 * error.log10().item(), "test_loss": error.item()}
