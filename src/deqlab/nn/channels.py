"""What networks of feature maps share: channel numbers, and how classes are read off a map."""

from collections.abc import Sequence

from torch import nn

from deqlab.arguments import check_count, check_positive, check_sequence


def pooled_readout(channels: int, num_outputs: int) -> nn.Sequential:
    """Return what averages a feature map over its pixels, and reads classes off the average."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_outputs))


def check_channels(channels: Sequence[int], groups: int, *, name: str = "groups") -> None:
    """Raise unless there are channels, all of them positive multiples of `groups`.

    Args:
        channels: The channels.
        groups: What divides them.
        name: What the caller calls it.

    Raises:
        TypeError: `channels` is no sequence of whole numbers, or `groups` is none.
        ValueError: A number is out of its domain.
    """
    check_count(name, groups)
    check_sequence("channels", channels)
    if not channels or any(c < 1 or c % groups for c in channels):
        raise ValueError(
            f"channels needs one or more positive multiples of {name} = {groups}, got "
            f"{list(channels)}"
        )


def check_kernel(size: int) -> None:
    """Raise unless filters of this size have a pixel in their middle.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is even, or below 1.
    """
    check_count("kernel_size", size)
    if size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, so that z keeps its size, got {size}")


def check_eps(eps: float) -> None:
    """Raise unless a normalisation can have this epsilon.

    Raises:
        TypeError: It is no number.
        ValueError: It is not more than 0, or not finite.
    """
    check_positive("eps", eps)
