"""A multiscale DEQ on Fashion-MNIST: `multiscale-fashion`.

The state is a feature map at each of several resolutions, which are found all at once (Bai, Koltun
& Kolter 2020, "Multiscale Deep Equilibrium Models"); its filters are held at operator norm 1. Stem,
readout and twins are those of `conv`.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from deqlab.experiments.config import check_at_least, check_positive, require
from deqlab.gradients.phantom import Phantom
from deqlab.nn.models.conv import (
    ConvFrame,
    channels_of_equal_parameters,
    conv_twin,
)
from deqlab.nn.models.multiscale import multiscale
from deqlab.recipes.images.config import SMOKE, ImageConfig
from deqlab.recipes.images.data import Images
from deqlab.recipes.images.recipe import frame_of, image_recipe, residual_of_flops
from deqlab.solvers.anderson import Anderson


@dataclass(frozen=True, kw_only=True)
class MultiscaleConfig(ImageConfig):
    """The fields of the recipe.

    Attributes:
        channels: Of the state, the finest resolution first.
        halvings: Convolutions of stride 2 in front of the DEQ.
        fields: The readout sees the averages of fields x fields parts of the finest map.
        expansion: By how much the channels grow inside of a block.
        gain: Of the feedback at the start.
        max_steps: Steps of a solve while training, at most.
    """

    channels: tuple[int, ...] = (24, 24)
    halvings: int = 1
    fields: int = 7
    expansion: int = 1
    gain: float = 0.4
    max_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.channels) > 0, "channels needs at least one number")
        check_at_least(self, 1, "halvings", "fields", "expansion", "max_steps")
        check_positive(self, "gain")


def deq(config: MultiscaleConfig, images: Images) -> nn.Module:
    """Return the DEQ."""
    frame, channels = _frame(config, images), config.channels[0]
    features, _ = multiscale(
        images.shape[0],
        config.channels,
        images.num_classes,
        halvings=config.halvings,
        gain=config.gain,
        expansion=config.expansion,
        size=frame.size,
        eps=0.1,
        solver=Anderson(memory=3, rtol=1e-2, max_steps=config.max_steps),
        gradient=Phantom(steps=4),
        on_failure="ignore",  # the log of the run speaks up
    )
    return nn.Sequential(features, nn.GroupNorm(frame.groups, channels), frame.readout(channels))


def of_parameters(config: MultiscaleConfig, images: Images) -> nn.Module:
    """Return the twin of equal parameters, of as many residual blocks as there are resolutions."""
    frame, blocks = _frame(config, images), len(config.channels)
    channels = channels_of_equal_parameters(frame, deq(config, images), blocks=blocks)
    return conv_twin(frame, channels, blocks=blocks)


def of_flops(config: MultiscaleConfig, images: Images, flops: float) -> nn.Module:
    """Return the twin of equal FLOPs: channels of the finest map, as many blocks as it takes."""
    frame, size = _frame(config, images), config.batch_size
    return residual_of_flops(frame, config.channels[0], images, batch_size=size, flops=flops)


def _frame(config: MultiscaleConfig, images: Images) -> ConvFrame:
    return frame_of(images, halvings=config.halvings, fields=config.fields)


FULL = MultiscaleConfig(epochs=5, learning_rates=(1e-2,), flips=True)
SMALL: dict[str, Any] = {**SMOKE, "channels": (8, 8), "fields": 2}

RECIPES = (
    image_recipe(
        deq,
        of_parameters,
        of_flops,
        name="multiscale-fashion",
        title="A multiscale DEQ",
        source="Asked by deqlab; after Bai, Koltun & Kolter (2020).",
        presets={
            "smoke": replace(FULL, **SMALL),
            "quick": replace(FULL, train_size=10_000, epochs=1),
            "full": FULL,
        },
        margin=0.005,
    ),
)
