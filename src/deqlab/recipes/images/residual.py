"""The residual networks beside a DEQ of feature maps, between the same stem and readout."""

from torch import nn

from deqlab.nn.models.conv import ConvFrame, blocks_of_equal_flops, conv_twin
from deqlab.recipes.images.data import Images


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
