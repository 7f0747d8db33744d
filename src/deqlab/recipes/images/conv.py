"""A convolutional DEQ at one resolution: `conv-fashion` and `conv-cifar`.

One residual block whose feedback is bounded by its operator norms (`ConvCell`), between a stem and
a readout that its twins have too. Source of the setting: Bai, Koltun & Kolter (2020), "Multiscale
Deep Equilibrium Models", at one resolution.
"""

from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import torch
from torch import nn

from deqlab.experiments.comparing.own_parts import TRIED, own_module, try_cell
from deqlab.experiments.config import check_at_least, check_choice, check_positive
from deqlab.gradients.phantom import Phantom
from deqlab.nn.cells.conv import Arrangement
from deqlab.nn.models.conv import (
    ConvFrame,
    channels_of_equal_parameters,
    conv_deq,
    conv_twin,
)
from deqlab.own.target import OwnCodeError
from deqlab.recipes.images.config import SMOKE, ImageConfig
from deqlab.recipes.images.data import Images
from deqlab.recipes.images.recipe import frame_of, image_recipe, residual_of_flops
from deqlab.solvers.anderson import Anderson
from deqlab.training.layers import knob_of, layers_of


@dataclass(frozen=True, kw_only=True)
class ConvConfig(ImageConfig):
    """The fields of a recipe for a convolutional DEQ.

    Attributes:
        channels: Of the state.
        halvings: Convolutions of stride 2 in front of the DEQ.
        fields: The readout sees the averages of fields x fields parts of the map.
        arrangement: Of the cell: "inner" or "outer", see `ConvCell`.
        gain: Of the feedback at the start.
        max_steps: Steps of a solve while training, at most.
        cell: MODULE:NAME of a cell of yours in the place of `ConvCell`, called with `channels`
            and the size (height, width) of a feature map; its state is one of these.
            `arrangement` and `gain` are not its, and it needs a knob where `rate` is above 0.
    """

    channels: int = 32
    halvings: int = 2
    fields: int = 7
    arrangement: str = "outer"
    gain: float = 1.0
    max_steps: int = 20
    cell: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "channels", "halvings", "fields", "max_steps")
        check_choice(self, "arrangement", get_args(Arrangement))
        check_positive(self, "gain")


def deq(config: ConvConfig, images: Images) -> nn.Module:
    """Return the DEQ."""
    frame = _frame(config, images)
    model = conv_deq(
        frame,
        config.channels,
        arrangement=cast("Arrangement", config.arrangement),
        gain=config.gain,
        solver=Anderson(memory=3, rtol=1e-2, max_steps=config.max_steps),
        gradient=Phantom(steps=4),
        on_failure="ignore",  # the log of the run speaks up
    )
    if config.cell is not None:
        (layer,) = layers_of(model).values()
        layer.cell = own_module(config.cell, "NAME(channels, size)", config.channels, frame.size)
    return model


def check_cell(config: ConvConfig, images: Images) -> None:
    """Raise OwnCodeError unless a cell of the user's fits."""
    if config.cell is None:
        return
    with torch.random.fork_rng([]):
        (layer,) = layers_of(deq(config, images)).values()
        state = (config.channels, *_frame(config, images).size)
        x = torch.randn(TRIED, *state)
    try_cell(config.cell, layer, x, state)
    if config.rate and knob_of(layer) is None:
        raise OwnCodeError(
            f"{config.cell} has no knob that rate control could turn: give it one (`Cell.knob`), "
            "or train without, by --set rate=0"
        )


def of_parameters(config: ConvConfig, images: Images) -> nn.Module:
    """Return the twin of equal parameters: one residual block."""
    frame = _frame(config, images)
    return conv_twin(frame, channels_of_equal_parameters(frame, deq(config, images)))


def of_flops(config: ConvConfig, images: Images, flops: float) -> nn.Module:
    """Return the twin of equal FLOPs: the channels of the DEQ, and as many blocks as it takes."""
    frame, size = _frame(config, images), config.batch_size
    return residual_of_flops(frame, config.channels, images, batch_size=size, flops=flops)


def _frame(config: ConvConfig, images: Images) -> ConvFrame:
    return frame_of(images, halvings=config.halvings, fields=config.fields)


FASHION = ConvConfig(epochs=8, learning_rates=(2e-2,), flips=True)
CIFAR = ConvConfig(dataset="cifar10", epochs=20, learning_rates=(1e-2,), fields=4, flips=True)
SMALL: dict[str, Any] = {**SMOKE, "channels": 8, "halvings": 1, "fields": 2}

NETWORKS = (deq, of_parameters, of_flops)
SOURCE = "Asked by deqlab; after Bai, Koltun & Kolter (2020)."

RECIPES = (
    image_recipe(
        *NETWORKS,
        check=check_cell,
        name="conv-fashion",
        title="A convolutional DEQ",
        source=SOURCE,
        presets={
            "smoke": replace(FASHION, **SMALL),
            "quick": replace(FASHION, train_size=10_000, epochs=2),
            "stress": replace(
                FASHION,
                channels=16,
                halvings=1,
                fields=2,
                train_size=10_000,
                epochs=2,
                flips=False,
            ),
            "full": FASHION,
        },
        margin=0.005,
    ),
    image_recipe(
        *NETWORKS,
        check=check_cell,
        name="conv-cifar",
        title="A convolutional DEQ",
        source=SOURCE,
        presets={
            "smoke": replace(CIFAR, **SMALL),
            "quick": replace(CIFAR, epochs=5),
            "full": CIFAR,
        },
    ),
)
