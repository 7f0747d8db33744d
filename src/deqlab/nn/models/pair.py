"""Networks for images: a multiscale DEQ, and residual networks of equal parameters or FLOPs.

All read their classes off the average of one rectified, group-normalised feature map of the same
resolution, so that their maps differ by what made the features and not by how they are read.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deqlab.costs import num_parameters
from deqlab.nn.deq import DEQ
from deqlab.nn.models.multiscale import multiscale
from deqlab.nn.models.resnet import resnet
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson

GROUPS = 4
BLOCKS = 2  # of each stage of the residual network
SMALLEST = 8  # pixels each way of the feature map, at least


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What both networks share.

    Attributes:
        images: (channels, height, width).
        num_classes: Classes.
        halvings: How often the resolution is halved before the feature map.
    """

    images: tuple[int, int, int]
    num_classes: int

    @property
    def halvings(self) -> int:
        """As often as leaves `SMALLEST` pixels and an even number of them, and at most twice."""
        size = self.images[1]
        fits = [h for h in (1, 2) if size % 2 ** (h + 1) == 0 and size >> h >= SMALLEST]
        return max(fits, default=0)


def deq(shape: Shape, channels: tuple[int, ...], solver: Anderson) -> nn.Sequential:
    """Return the multiscale DEQ with its readout."""
    return multiscale(
        shape.images[0],
        channels,
        shape.num_classes,
        halvings=shape.halvings,
        groups=GROUPS,
        solver=solver,
        # Failures do not warn a thousand times here: every row has the share that converged.
        on_failure="ignore",
    )


def residual(shape: Shape, width: int, *, blocks: int = BLOCKS) -> nn.Sequential:
    """Return the residual network: `width` channels, doubled where the resolution is halved.

    Args:
        shape: What it shares with the DEQ.
        width: A multiple of GROUPS.
        blocks: Residual blocks of each stage.
    """
    halvings = shape.halvings
    return resnet(
        shape.images[0],
        [width * 2**stage for stage in range(max(1, halvings))],
        shape.num_classes,
        blocks=blocks,
        stride=2 if halvings else 1,
        groups=GROUPS,
    )


def matching_width(shape: Shape, channels: tuple[int, ...]) -> int:
    """Return the width whose residual network has most nearly the parameters of the DEQ."""
    with torch.device("meta"):
        budget = num_parameters(deq(shape, channels, Anderson()))
    return size_of_equal_parameters(partial(residual, shape), budget, count(GROUPS, GROUPS))


def matching_blocks(
    shape: Shape, width: int, budget: int, x: Float[Tensor, "B C H W"], y: Int64[Tensor, " B"]
) -> int:
    """Return the blocks a stage with which a step of training takes most nearly `budget` FLOPs.

    Args:
        shape: What the networks share.
        width: Of the residual network.
        budget: The FLOPs of the DEQ's step on a batch like x, see `twins.training_flops`.
        x: A batch; only its shape is taken.
        y: Its classes.
    """

    def make(blocks: int) -> nn.Sequential:
        return residual(shape, width, blocks=blocks)

    return size_of_equal_flops(make, budget, count(1), x, y)


def forward(model: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor, Solution | None]:
    """Return the feature maps, the scores, and the solve if the network has one."""
    features, readout = model[0], model[1]
    assert isinstance(features, nn.Sequential)
    if not isinstance(features[1], DEQ):
        maps = features(x)
        return maps, readout(maps), None
    solution = features[1].solve(features[0](x))
    maps = features[2](solution.value)
    return maps, readout(maps), solution
