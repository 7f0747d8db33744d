"""Monotone DEQs on MNIST: `monotone-mnist` (dense) and `monotone-conv-mnist`.

They are well-posed at every weight, so that nothing has to control them: `certificate` is in the
rows. Both directions are solved by Peaceman-Rachford splitting, whose step is tuned twice an epoch.
Source: Winston & Kolter (2020), "Monotone operator equilibrium networks", whose settings these are:
Adam, batches of 128, a margin of 1, and a readout that is linear.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import prod

import torch
from torch import Tensor, nn

from deqlab.costs import num_parameters
from deqlab.experiments.config import check_at_least, check_positive
from deqlab.nn.deq import DEQ
from deqlab.nn.models.conv import (
    ConvFrame,
    channels_of_equal_parameters,
    conv_twin,
)
from deqlab.nn.models.mlp import mlp
from deqlab.nn.models.monotone import monotone
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters
from deqlab.nn.tuning import tune_alpha
from deqlab.recipes.images.config import SMOKE, ImageConfig
from deqlab.recipes.images.data import Images
from deqlab.recipes.images.recipe import frame_of, image_recipe, residual_of_flops


@dataclass(frozen=True, kw_only=True)
class MonotoneConfig(ImageConfig):
    """The fields of the recipes.

    Attributes:
        width: Of the state: numbers of a vector, or channels of a feature map.
        margin: m of the cell.
        halvings: How often pixels are put into channels in front, 2 x 2 each time; 0 for vectors.
    """

    width: int = 87
    margin: float = 1.0
    halvings: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width")
        check_at_least(self, 0, "halvings")
        check_positive(self, "margin")


def dense(config: MonotoneConfig, images: Images) -> nn.Module:
    """Return the DEQ whose state is a vector."""
    return monotone(
        images.shape,
        config.width,
        images.num_classes,
        dense=True,
        margin=config.margin,
        on_failure="ignore",
    )


def conv(config: MonotoneConfig, images: Images) -> nn.Module:
    """Return the DEQ whose state is a feature map, behind a rearrangement of pixels."""
    channels, height, width = images.shape
    part = 2**config.halvings
    shape = (channels * part**2, height // part, width // part)
    made = monotone(
        shape, config.width, images.num_classes, margin=config.margin, on_failure="ignore"
    )
    return nn.Sequential(*[nn.PixelUnshuffle(2)] * config.halvings, *made)


def _mlp(images: Images, width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), mlp([prod(images.shape), width, images.num_classes]))


def mlp_of_parameters(config: MonotoneConfig, images: Images) -> nn.Module:
    """Return the perceptron with one hidden layer and most nearly the parameters of the DEQ."""
    budget = num_parameters(dense(config, images))
    return _mlp(images, size_of_equal_parameters(partial(_mlp, images), budget, count(1)))


def mlp_of_flops(config: MonotoneConfig, images: Images, flops: float) -> nn.Module:
    """Return that whose training step takes most nearly so many FLOPs."""
    x, y = (part[: config.batch_size] for part in images.train)
    width = size_of_equal_flops(partial(_mlp, images), round(flops), count(1), x, y)
    return _mlp(images, width)


def conv_of_parameters(config: MonotoneConfig, images: Images) -> nn.Module:
    """Return the residual network with most nearly the parameters of the DEQ."""
    frame = _frame(images)
    return conv_twin(frame, channels_of_equal_parameters(frame, conv(config, images)))


def conv_of_flops(config: MonotoneConfig, images: Images, flops: float) -> nn.Module:
    """Return that whose training step takes most nearly so many FLOPs."""
    frame, channels = _frame(images), 4 * max(1, config.width // 8)
    return residual_of_flops(frame, channels, images, batch_size=config.batch_size, flops=flops)


def _frame(images: Images) -> ConvFrame:
    return frame_of(images, halvings=1, fields=4)


def tune(model: nn.Module, x: Tensor) -> None:
    """Give the DEQ the step that solves these images in fewest evaluations."""
    *front, features, _ = model.children()
    before, layer, _ = features.children()
    assert isinstance(layer, DEQ)
    with torch.no_grad():
        for part in [*front, before]:
            x = part(x)
    tune_alpha(layer, x)


DENSE = MonotoneConfig(
    dataset="mnist", epochs=15, batch_size=128, learning_rates=(1e-2,), rate=0.0, num_evaluations=15
)
CONV = replace(DENSE, width=54, halvings=1, epochs=1, num_evaluations=5)

SOURCE = "Winston & Kolter (2020), section 5."

RECIPES = (
    image_recipe(
        dense,
        mlp_of_parameters,
        mlp_of_flops,
        tune=tune,
        name="monotone-mnist",
        title="A monotone DEQ of vectors",
        source=SOURCE,
        presets={
            "smoke": replace(DENSE, **SMOKE, width=20),
            "quick": replace(DENSE, epochs=1, num_evaluations=2),
            "full": DENSE,
        },
        margin=0.005,
    ),
    image_recipe(
        conv,
        conv_of_parameters,
        conv_of_flops,
        tune=tune,
        name="monotone-conv-mnist",
        title="A monotone DEQ of feature maps",
        source=SOURCE,
        presets={
            "smoke": replace(CONV, **SMOKE, width=8, halvings=0),
            "quick": replace(CONV, train_size=10_000, num_evaluations=2),
            "full": CONV,
        },
        margin=0.005,
    ),
)
