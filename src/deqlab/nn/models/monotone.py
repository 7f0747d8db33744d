"""Classifiers of images with a monotone DEQ: dense, convolutional, and of several resolutions.

They are those of Winston & Kolter (2020): a monotone equilibrium of the image, and a linear readout
of it, after a pooling over 4 x 4 pixels where it is a feature map. Both directions are solved by
Peaceman-Rachford splitting; `tune_alpha` finds its step.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from deqlab.arguments import check_count, check_sequence
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.monotone import MonotoneCell
from deqlab.nn.cells.monotone_conv import MonotoneConvCell
from deqlab.nn.cells.monotone_tiers import MonotoneTiersCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.multiscale import Resolution
from deqlab.solvers.base import Solver
from deqlab.solvers.splitting import PeacemanRachford

POOL = 4
"""Pixels each way that the readout of a feature map averages."""

FORWARD = PeacemanRachford(rtol=1e-2, max_steps=50)
BACKWARD = Implicit(solver=PeacemanRachford(rtol=1e-2, max_steps=50))


def monotone(
    shape: Sequence[int],
    channels: int | Sequence[int],
    num_outputs: int,
    *,
    dense: bool = False,
    margin: float = 1.0,
    solver: Solver[Any] = FORWARD,
    gradient: Gradient = BACKWARD,
    on_failure: OnFailure = "warn",
) -> nn.Sequential:
    """Return a classifier of images: (features, readout), with a monotone DEQ in the features.

    The features are the equilibrium, of several resolutions the coarsest map of it.

    Args:
        shape: (channels, height, width) of an image.
        channels: Those of the state: a number for one resolution, several for as many, each half
            of the one before; the width of a state that is a vector, if `dense`.
        num_outputs: Classes.
        dense: Whether the state is a vector, and W any matrix with I - W >= margin I.
        margin: m of the cell.
        solver: The solver of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> features, readout = monotone((1, 28, 28), (4, 8), 10)
        >>> maps = features(torch.randn(2, 1, 28, 28))
        >>> maps.shape, readout(maps).shape
        (torch.Size([2, 8, 15, 15]), torch.Size([2, 10]))
    """
    check_sequence("shape", shape)
    if len(shape) != 3:
        raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
    check_count("num_outputs", num_outputs)
    num_inputs, height, width = shape
    options: dict[str, Any] = {"solver": solver, "gradient": gradient, "on_failure": on_failure}
    if dense:
        assert isinstance(channels, int)
        vectors = DEQ(MonotoneCell(num_inputs * height * width, channels, margin=margin), **options)
        features = nn.Sequential(nn.Flatten(), vectors, nn.Identity())
        return nn.Sequential(features, nn.Linear(channels, num_outputs))
    if isinstance(channels, int):
        maps: DEQ[Tensor] = DEQ(MonotoneConvCell(num_inputs, channels, margin=margin), **options)
        features = nn.Sequential(nn.ZeroPad2d(1), maps, nn.Identity())
        return nn.Sequential(features, _readout(channels, height + 2, width + 2, num_outputs))
    halvings = len(channels) - 1
    # Room for a border of one pixel at the finest resolution, and for every halving.
    padded = [-(-(n + 2) >> halvings) << halvings for n in (height, width)]
    top, left = (padded[0] - height) // 2, (padded[1] - width) // 2
    pad = nn.ZeroPad2d((left, padded[1] - width - left, top, padded[0] - height - top))
    tiers = DEQ(MonotoneTiersCell(num_inputs, channels, margin=margin), **options)
    features = nn.Sequential(pad, tiers, Resolution(-1))
    size = (padded[0] >> halvings, padded[1] >> halvings)
    return nn.Sequential(features, _readout(channels[-1], *size, num_outputs))


def _readout(channels: int, height: int, width: int, num_outputs: int) -> nn.Sequential:
    pool = min(POOL, height, width)
    pixels = (height // pool) * (width // pool)
    return nn.Sequential(
        nn.AvgPool2d(pool), nn.Flatten(), nn.Linear(channels * pixels, num_outputs)
    )
