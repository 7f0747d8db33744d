"""What networks of feature maps share: channel numbers, and how classes are read off a map."""

from collections.abc import Sequence

from torch import nn

from deqlab.arguments import check_count, check_sequence


def pooled_readout(channels: int, num_outputs: int) -> nn.Sequential:
    """Return what averages a feature map over its pixels, and reads classes off the average."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_outputs))


def check_channels(channels: Sequence[int], groups: int) -> None:
    """Raise unless there are channels, all of them positive multiples of `groups`.

    Raises:
        TypeError: `channels` is no sequence of whole numbers, or `groups` is none.
        ValueError: A number is out of its domain.
    """
    check_count("groups", groups)
    check_sequence("channels", channels)
    if not channels or any(c < 1 or c % groups for c in channels):
        raise ValueError(
            f"channels needs one or more positive multiples of groups = {groups}, got "
            f"{list(channels)}"
        )
