"""Residual networks with pre-activation and group normalisation, as an explicit counterpart.

    h <- P h + B * relu(N(A * relu(N(h))))

with * a convolution, N group normalisation, and P the identity, or a 1 x 1 convolution of
relu(N(h)) where the shape changes. Sources: He, Zhang, Ren & Sun (2016), "Identity Mappings in Deep
Residual Networks", Figure 1(b); Wu & He (2018), "Group Normalization", which keeps samples
independent of their batch.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.nn.channels import check_channels, pooled_readout


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a way around them.

    Args:
        num_inputs: Channels of the input, a multiple of `groups`.
        num_outputs: Channels of the output, likewise.
        stride: The stride of the first convolution: the output has so many times fewer pixels
            each way.
        groups: The number of groups of the normalisation.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, stride: int = 1, groups: int = 4
    ) -> None:
        super().__init__()
        check_channels([num_inputs, num_outputs], groups)
        check_count("stride", stride)
        self.before = nn.GroupNorm(groups, num_inputs)
        self.first = nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False)
        self.between = nn.GroupNorm(groups, num_outputs)
        self.second = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.around: nn.Conv2d | None = None
        if stride != 1 or num_inputs != num_outputs:
            self.around = nn.Conv2d(num_inputs, num_outputs, 1, stride=stride, bias=False)

    @override
    def forward(self, h: Float[Tensor, "B n H W"]) -> Float[Tensor, "B m h w"]:
        activated = torch.relu(self.before(h))
        residual: Tensor = self.second(torch.relu(self.between(self.first(activated))))
        return residual + (h if self.around is None else self.around(activated))


def resnet(
    num_inputs: int,
    channels: Sequence[int],
    num_outputs: int,
    *,
    blocks: int = 2,
    stride: int = 1,
    groups: int = 4,
) -> nn.Sequential:
    """Return a classifier of images: (features, readout).

    The features are the last map of the network, normalised and rectified; the readout averages it
    over pixels.

    Args:
        num_inputs: Channels of the images.
        channels: Those of each stage, multiples of `groups`; each but the first halves the
            resolution.
        num_outputs: Classes.
        blocks: Residual blocks of each stage.
        stride: The stride of the convolution in front.
        groups: The number of groups of the normalisation.

    Raises:
        ValueError: A number is below 1, or a channel number no multiple of `groups`.

    Example:
        >>> features, readout = resnet(3, [8, 16], 10)
        >>> maps = features(torch.randn(2, 3, 16, 16))
        >>> maps.shape, readout(maps).shape
        (torch.Size([2, 16, 8, 8]), torch.Size([2, 10]))
    """
    check_channels(channels, groups)
    for name, count in (
        ("num_inputs", num_inputs),
        ("num_outputs", num_outputs),
        ("blocks", blocks),
        ("stride", stride),
    ):
        check_count(name, count)
    layers: list[nn.Module] = [nn.Conv2d(num_inputs, channels[0], 3, stride=stride, padding=1)]
    width = channels[0]
    for stage, of_stage in enumerate(channels):
        for block in range(blocks):
            halves = stage > 0 and block == 0
            layers.append(ResidualBlock(width, of_stage, stride=2 if halves else 1, groups=groups))
            width = of_stage
    features = nn.Sequential(*layers, nn.GroupNorm(groups, width), nn.ReLU())
    return nn.Sequential(features, pooled_readout(width, num_outputs))
