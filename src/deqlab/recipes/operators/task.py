"""Darcy flow: permeabilities, pressures, and how well networks tell one from the other."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.costs import num_parameters
from deqlab.experiments.base import Row
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.operators.config import DarcyConfig
from deqlab.recipes.task import Metric
from deqlab.tasks import darcy
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import Labelled, assessed
from deqlab.training.fit import evaluated
from deqlab.training.layers import layers_of

MIDDLE, HALF = (darcy.HIGH + darcy.LOW) / 2, (darcy.HIGH - darcy.LOW) / 2
"""Networks are told (a - MIDDLE) / HALF, which is -1 or 1."""

PER_UNIT = 100.0
"""Networks answer PER_UNIT u, of size 1."""

DRAWN = 1
"""The seed of the fields. The settings of the recipe were chosen on those of seed 0."""


class DarcyTask(StepsTask[Labelled]):
    """Permeabilities and pressures, as one channel each, in the units of networks.

    Attributes:
        test: What is tested on.
    """

    metric: Metric = Metric(
        field="relative_error",
        name="a relative error",
        higher=False,
        show=lambda error: f"{100 * error:.2f}",
        unit=" %",
        show_gap=lambda gap: f"{100 * gap:+.2f}",
        gap_unit=" points",
    )

    def __init__(self, config: DarcyConfig) -> None:
        super().__init__(config)
        self.config: DarcyConfig = config
        self.data: None = None
        kept = config.test_size
        x, y = fields(2 * kept + config.train_size, config.size)
        self.test = x[:kept], y[:kept]
        self._choice = x[kept : 2 * kept], y[kept : 2 * kept]
        self._train = x[2 * kept :], y[2 * kept :]

    @override
    def batches(self, generator: torch.Generator) -> Drawn[Labelled]:
        return Drawn(self.config.steps, generator, self._draw)

    @override
    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        x, y = batch
        return relative_errors(model(x), y).mean()

    @override
    def tested(self, model: nn.Module) -> Row:
        return self._on(model, self.test)

    @override
    def validated(self, model: nn.Module) -> float:
        return float(self._on(model, self._choice)["relative_error"])

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        yield from super().examined(model)
        yield from self._pictures(model)

    @override
    def about(self) -> dict[str, Any]:
        return {}

    def _draw(self, generator: torch.Generator) -> Labelled:
        x, y = self._train
        rows = torch.randint(len(x), (self.config.batch_size,), generator=generator)
        return x[rows], y[rows]

    def _on(self, model: nn.Module, data: Labelled) -> Row:
        config = self.config
        return assessed(model, data, scored, rtol=config.rtol, max_steps=config.max_steps)

    def _pictures(self, model: nn.Module) -> Iterator[Row]:
        """Yield the first test fields, and beside them what the network answers, and its errors."""
        x, y = (part[: self.config.pictures] for part in self.test)
        answer = evaluated(model, lambda model: {"answer": model(x)})["answer"]
        kind = "DEQ" if layers_of(model) else "explicit"
        network = f"{kind}, {num_parameters(model):,} weights"
        for index, (a, u, z) in enumerate(zip(x, y, answer, strict=True), start=1):
            largest = u.abs().max()
            for line, what, picture in (
                (f"field {index}", "permeability", (a + 1) / 2),
                (f"field {index}", "pressure", u / largest),
                (f"field {index}", network, z / largest),
                (f"error {index}, ten times", network, 10 * (z - u).abs() / largest),
            ):
                pixels = (1e3 * picture[0].clamp(0, 1)).round() / 1e3
                yield {"kind": "field", "field": line, "what": what, "pixels": pixels.tolist()}


@lru_cache(maxsize=1)
def fields(count: int, size: int) -> tuple[Float[Tensor, "N 1 n n"], Float[Tensor, "N 1 n n"]]:
    """Return inputs and answers of networks, the same for all jobs, kept for the next one."""
    a, u = darcy.sample(count, size=size, generator=torch.Generator().manual_seed(DRAWN))
    return ((a - MIDDLE) / HALF)[:, None], (PER_UNIT * u)[:, None]


def relative_errors(z: Tensor, y: Tensor) -> Float[Tensor, " N"]:
    """Return |z - y| / |y| of each field, in the Euclidean norm over its points."""
    errors: Tensor = (z - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
    return errors


def scored(z: Tensor, y: Tensor) -> Row:
    """Return the mean of the relative errors, and the largest."""
    errors = relative_errors(z.double(), y.double())
    return {"relative_error": errors.mean().item(), "largest_error": errors.max().item()}
