"""The two settings in which a DEQ leaves its equilibrium: a convolutional one, and attention.

`conv` is a small network at a large learning rate on 10,000 images of Fashion-MNIST; `attention` is
one block of a transformer on tinyshakespeare, whose gate has a cap that nothing lowers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Optimizer

from deqlab.experiments.stabilisers.textbook import TextbookCell
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.nn.deq import DEQ
from deqlab.nn.learning_rates import parameter_groups
from deqlab.nn.models.conv import ConvFrame, conv_deq
from deqlab.nn.models.transformer import equilibrium_transformer
from deqlab.solvers.anderson import Anderson
from deqlab.tasks.files.loading import load
from deqlab.training.equilibrium import Labelled

CHANNELS, BATCH = 16, 64
WIDTH, HEADS, LENGTH, SEQUENCES = 128, 4, 64, 12
SOLVER = Anderson(memory=3, rtol=1e-2, max_steps=20)
GRADIENT = Implicit(solver=GMRES(rtol=5e-2, max_products=10))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network that trains, and on what.

    Attributes:
        network: Makes it; whether with what holds its filters or matrices at norm 1.
        steps: The number of steps.
        batches: Draws the batches.
        test: What it is tested on.
        optimizer: Makes the optimiser.
        clip: The largest norm of the gradient, or None.
        rate: What the controller aims at.
    """

    network: Callable[[bool], nn.Module]
    steps: int
    batches: Callable[[torch.Generator], Iterator[Labelled]]
    test: Labelled
    optimizer: Callable[[nn.Module], Optimizer]
    clip: float | None
    rate: float


def conv(num_images: int, epochs: int) -> Setting:
    """Return the convolutional setting: 14 x 14 x 16 between a coarse stem and readout."""
    data = _loaded("fashion_mnist")
    x, y = data.x_train[:num_images].view(-1, *data.shape), data.y_train[:num_images]
    frame = ConvFrame(images=data.shape, num_classes=data.num_classes, halvings=1, fields=2)
    batches = max(1, len(x) // BATCH)

    def network(bounded: bool) -> nn.Module:
        model = conv_deq(
            frame,
            CHANNELS,
            arrangement="outer",
            solver=SOLVER,
            gradient=GRADIENT,
            on_failure="ignore",
        )
        if not bounded:
            features = model[0]
            assert isinstance(features, nn.Sequential)
            layer = features[1]
            assert isinstance(layer, DEQ)
            layer.cell = TextbookCell(CHANNELS)
        return model

    def draw(generator: torch.Generator) -> Iterator[Labelled]:
        for _ in range(epochs):
            order = torch.randperm(len(x), generator=generator)
            for part in order.split(BATCH)[:batches]:
                yield x[part], y[part]

    return Setting(
        network=network,
        steps=epochs * batches,
        batches=draw,
        test=(data.x_test[:2000].view(-1, *data.shape), data.y_test[:2000]),
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=2e-2),
        clip=None,
        rate=0.5,
    )


def attention(steps: int) -> Setting:
    """Return the setting of attention: nanoGPT's for a CPU, with one tied block."""
    text = _loaded("shakespeare")

    def windows(characters: Tensor, count: int, generator: torch.Generator) -> Labelled:
        starts = torch.randint(len(characters) - LENGTH - 1, (count, 1), generator=generator)
        found = characters[starts + torch.arange(LENGTH + 1)]
        return found[:, :-1], found[:, 1:]

    def draw(generator: torch.Generator) -> Iterator[Labelled]:
        for _ in range(steps):
            yield windows(text.train, SEQUENCES, generator)

    def network(bounded: bool) -> nn.Module:
        model = equilibrium_transformer(
            len(text.vocabulary),
            LENGTH,
            WIDTH,
            HEADS,
            solver=SOLVER,
            gradient=GRADIENT,
            on_failure="ignore",
        )
        if bounded:
            for part in model.body.modules():
                if isinstance(part, nn.Linear):
                    spectral_norm(part)
        return model

    return Setting(
        network=network,
        steps=steps,
        batches=draw,
        test=windows(text.validation, 240, torch.Generator().manual_seed(0)),
        optimizer=lambda model: torch.optim.AdamW(
            parameter_groups(model, lr=1e-3, weight_decay=0.1), betas=(0.9, 0.99)
        ),
        clip=1.0,
        rate=0.55,
    )


@lru_cache(maxsize=2)
def _loaded(name: str) -> Any:  # noqa: ANN401
    return load(name)
