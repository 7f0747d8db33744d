"""A recipe that classifies images: a DEQ beside explicit networks of equal cost."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.images.data import ImageTask, shaped


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
