"""A classifier of images with a multiscale DEQ."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count, check_whole
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.exchange import Maps, Reach
from deqlab.nn.cells.multiscale import MultiscaleCell
from deqlab.nn.channels import check_channels, pooled_readout
from deqlab.nn.deq import DEQ
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver


class Resolution(nn.Module):
    """One feature map of a multiscale state.

    Args:
        index: Which; 0 is the finest, -1 the coarsest.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        check_whole("index", index)
        self.index = index

    @override
    def forward(self, z: Maps) -> Tensor:
        return z[self.index]

    @override
    def extra_repr(self) -> str:
        return f"index={self.index}"


def multiscale(
    num_inputs: int,
    channels: Sequence[int],
    num_outputs: int,
    *,
    halvings: int = 0,
    groups: int = 4,
    gain: float = 0.4,
    exchange: Reach = "neighbours",
    expansion: int = 1,
    identity: float = 0.0,
    dropout: float = 0.0,
    size: Sequence[int] | None = None,
    eps: float = 1e-5,
    solver: Solver[Any] = Anderson(rtol=1e-3, max_steps=50),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> nn.Sequential:
    """Return a classifier of images: (features, readout), with a multiscale DEQ in the features.

    The features are a few convolutions, the DEQ, and the finest map of its equilibrium, which the
    coarser ones are part of; the readout averages it over pixels.

    Args:
        num_inputs: Channels of the images.
        channels: Those of the state, the finest resolution first.
        num_outputs: Classes.
        halvings: Convolutions of stride 2 in front of the DEQ, 0 or more; one of stride 1 if 0.
        groups: The number of groups of every normalisation.
        gain: See `MultiscaleCell`.
        exchange: Likewise.
        expansion: Likewise.
        identity: Likewise.
        dropout: Likewise.
        size: Likewise: that of the finest map of the state, not of the images.
        eps: Likewise.
        solver: The solver of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> features, readout = multiscale(3, [8, 16], 10)
        >>> maps = features(torch.randn(2, 3, 16, 16))
        >>> maps.shape, readout(maps).shape
        (torch.Size([2, 8, 16, 16]), torch.Size([2, 10]))
    """
    check_channels(channels, groups)
    check_count("halvings", halvings, least=0)
    check_count("num_inputs", num_inputs)
    check_count("num_outputs", num_outputs)
    stem: list[nn.Module] = []
    for i in range(max(1, halvings)):
        stem += [
            nn.Conv2d(channels[0] if i else num_inputs, channels[0], 3, 2 if halvings else 1, 1),
            nn.GroupNorm(groups, channels[0]),
            nn.ReLU(),
        ]
    cell = MultiscaleCell(
        channels[0],
        channels,
        groups=groups,
        gain=gain,
        exchange=exchange,
        expansion=expansion,
        identity=identity,
        dropout=dropout,
        size=size,
        eps=eps,
    )
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    features = nn.Sequential(nn.Sequential(*stem), deq, Resolution(0))
    return nn.Sequential(features, pooled_readout(channels[0], num_outputs))
