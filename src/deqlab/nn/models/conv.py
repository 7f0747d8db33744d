"""A classifier of images with a convolutional DEQ at one resolution, and its explicit twin.

Both have the same stem, which halves the resolution, and the same readout: group normalisation,
averages over as many fields of the map as are asked for, and a linear layer. Between the two stands
the equilibrium of a `ConvCell`, or pre-activated residual blocks; one block has two convolutions,
as the cell has. How fine the readout is counts for more than what stands there.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from deqlab.arguments import check_count
from deqlab.costs import num_parameters
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.conv import Arrangement, ConvCell
from deqlab.nn.channels import check_channels
from deqlab.nn.deq import DEQ
from deqlab.nn.models.resnet import ResidualBlock
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver


@dataclass(frozen=True, kw_only=True)
class ConvFrame:
    """What a convolutional DEQ and its twin share.

    Attributes:
        images: The channels, height and width of an image.
        num_classes: Classes.
        halvings: Convolutions of stride 2 in front, at least 1; each rounds the resolution up. All
            but the last have half the channels of the one behind them where `groups` divides that.
        fields: The readout sees the averages of fields x fields parts of the map: 1 averages all
            of it, the map's own height reads every position.
        groups: The number of groups of every normalisation.
    """

    images: tuple[int, int, int]
    num_classes: int
    halvings: int = 1
    fields: int = 2
    groups: int = 4

    def __post_init__(self) -> None:
        for name, number in (("num_classes", self.num_classes), ("halvings", self.halvings)):
            check_count(name, number)
        for number in self.images:
            check_count("each of images", number)
        check_count("fields", self.fields)
        check_count("groups", self.groups)
        if self.fields > min(self.size):
            raise ValueError(
                f"fields must be at most {min(self.size)}, the smaller side of the map, got "
                f"{self.fields}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width of the map between stem and readout."""
        part = 2**self.halvings
        return -(-self.images[1] // part), -(-self.images[2] // part)

    def stem(self, channels: int) -> nn.Sequential:
        """Return the convolutions in front, each normalised and rectified."""
        layers: list[nn.Module] = []
        width = self.images[0]
        for left in reversed(range(self.halvings)):
            halved = channels >> left
            wider = halved if halved and halved % self.groups == 0 else channels
            layers += [
                nn.Conv2d(width, wider, 3, stride=2, padding=1),
                nn.GroupNorm(self.groups, wider),
                nn.ReLU(),
            ]
            width = wider
        return nn.Sequential(*layers)

    def readout(self, channels: int) -> nn.Sequential:
        """Return averages over the fields of a map, and a linear layer on them."""
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(self.fields),
            nn.Flatten(),
            nn.Linear(channels * self.fields**2, self.num_classes),
        )


def conv_deq(
    frame: ConvFrame,
    channels: int,
    *,
    arrangement: Arrangement = "inner",
    gain: float = 1.0,
    solver: Solver[Any] = Anderson(memory=3, rtol=1e-2, max_steps=40),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> nn.Sequential:
    """Return a classifier of images: (features, readout), with a convolutional DEQ in the features.

    The features are the stem, the DEQ, and a normalisation of its equilibrium.

    Args:
        frame: What it shares with its twin.
        channels: Of the state, a multiple of the frame's `groups`.
        arrangement: See `ConvCell`.
        gain: Likewise, at the start.
        solver: The solver of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> frame = ConvFrame(images=(1, 28, 28), num_classes=10, halvings=2, fields=7)
        >>> features, readout = conv_deq(frame, 8)
        >>> maps = features(torch.randn(2, 1, 28, 28))
        >>> maps.shape, readout(maps).shape
        (torch.Size([2, 8, 7, 7]), torch.Size([2, 10]))
    """
    check_channels([channels], frame.groups)
    cell = ConvCell(channels, frame.size, arrangement=arrangement, groups=frame.groups, gain=gain)
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    norm = nn.GroupNorm(frame.groups, channels)
    features = nn.Sequential(frame.stem(channels), deq, norm)
    return nn.Sequential(features, frame.readout(channels))


def conv_twin(frame: ConvFrame, channels: int, *, blocks: int = 1) -> nn.Sequential:
    """Return the explicit twin, (features, readout), with residual blocks in place of the DEQ.

    Args:
        frame: What it shares with the DEQ.
        channels: Of the maps, a multiple of the frame's `groups`.
        blocks: Residual blocks, 0 or more.
    """
    check_channels([channels], frame.groups)
    check_count("blocks", blocks, least=0)
    layers = [ResidualBlock(channels, channels, groups=frame.groups) for _ in range(blocks)]
    norm = nn.GroupNorm(frame.groups, channels)
    features = nn.Sequential(frame.stem(channels), nn.Sequential(*layers), norm)
    return nn.Sequential(features, frame.readout(channels))


def channels_of_equal_parameters(frame: ConvFrame, model: nn.Module, *, blocks: int = 1) -> int:
    """Return the channels at which the twin has most nearly the parameters of `model`."""
    sizes = count(frame.groups, frame.groups)
    make = partial(conv_twin, frame, blocks=blocks)
    return size_of_equal_parameters(make, num_parameters(model), sizes)


def blocks_of_equal_flops(
    frame: ConvFrame,
    channels: int,
    budget: int,
    x: Float[Tensor, "B C H W"],
    y: Int64[Tensor, " B"],
) -> int:
    """Return the blocks with which the twin takes most nearly `budget` FLOPs in a training step.

    Args:
        frame: What it shares with the DEQ.
        channels: Of the twin's maps.
        budget: The FLOPs of the DEQ's step on a batch like x, see `twins.training_flops`.
        x: A batch; only its shape is taken.
        y: Its classes.
    """

    def make(blocks: int) -> nn.Sequential:
        return conv_twin(frame, channels, blocks=blocks)

    return size_of_equal_flops(make, budget, count(0), x, y)
