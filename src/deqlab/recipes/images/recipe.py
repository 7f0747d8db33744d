"""A recipe that classifies images: a DEQ beside explicit networks of equal cost.

Beside a DEQ of feature maps those are residual networks, between the same stem and readout.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from deqlab.nn.models.conv import ConvFrame, blocks_of_equal_flops, conv_twin
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.images.data import Images, ImageTask, shaped


def image_recipe(
    deq: Callable[..., nn.Module],
    of_parameters: Callable[..., nn.Module],
    of_flops: Callable[..., nn.Module],
    *,
    name: str,
    title: str,
    source: str,
    presets: dict[str, Any],
    margin: float | None = None,
    tune: Callable[[nn.Module, Tensor], None] | None = None,
    check: Callable[..., None] | None = None,
) -> Recipe:
    """Return a recipe for images.

    Args:
        deq: Makes the DEQ from the config and the images.
        of_parameters: See `twins`.
        of_flops: Likewise.
        name: See `recipe`, and so is what follows.
        title: Likewise.
        source: Likewise.
        presets: Likewise.
        margin: Likewise.
        tune: Likewise.
        check: That of the arm of the DEQ; see `Arm`.
    """
    return recipe(
        {"deq": Arm(label="DEQ", make=deq, check=check), **twins(of_parameters, of_flops)},
        name=name,
        title=title,
        source=source,
        presets=presets,
        task=ImageTask,
        metric=ImageTask.metric,
        restored=shaped,
        fields=("test_loss",),
        what="classifies",
        margin=margin,
        tune=tune,
    )


def frame_of(images: Images, *, halvings: int, fields: int) -> ConvFrame:
    """Return what both networks share on these images."""
    return ConvFrame(
        images=images.shape, num_classes=images.num_classes, halvings=halvings, fields=fields
    )


def residual_of_flops(
    frame: ConvFrame, channels: int, images: Images, *, batch_size: int, flops: float
) -> nn.Module:
    """Return the network with as many blocks as take most nearly so many FLOPs in a step."""
    x, y = (part[:batch_size] for part in images.train)
    blocks = blocks_of_equal_flops(frame, channels, round(flops), x, y)
    return conv_twin(frame, channels, blocks=blocks)
