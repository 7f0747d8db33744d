"""Growth by feedback of the output: a level more, whose neurons read the output there was.

Let y be the output of a network. Each neuron of the new level reads it, bent at one of its values
p:

    z = relu(a (y - p))

Candidates for the level differ in the sign of a and in p, which is y at a random training point.
The readout of each candidate solves a least-squares problem, and the one of least training loss is
kept. A DEQ keeps y beside the new neurons, as its readout may have any row that reads what the
output did. An FNN must carry y through its new level: the first neuron there, relu(y - min y +
1/4), is y but for a constant.

On targets that are made of each other, such as the sawtooth s_k = T(s_(k-1)), each level then
solves the same problem in y, the tent map on [0, 1]; a sequence of such targets encodes what the
last one is. Derived by deqlab, and searched for with the sawtooth in view.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.evaluation import evaluate
from deqlab.expressivity.search.network import Architecture, Network
from deqlab.expressivity.search.readout import least_squares

MARGIN = 0.25
"""Between the least output and the kink of the neuron that carries it: outputs at other points than
those of training may be lower."""


@dataclass(frozen=True)
class Neurons:
    """The neurons of a new level, relu(slope (y - kink)), for one candidate or for each of C."""

    slopes: Float[Tensor, "*C w"]
    kinks: Float[Tensor, "*C w"]

    def values(self, y: Float[Tensor, " N"]) -> Float[Tensor, "*C w N"]:
        """Return the neurons where the output is y."""
        return torch.relu(self.slopes[..., None] * (y - self.kinks[..., None]))


def add_level(network: Network, neurons: Neurons, readout: Float[Tensor, " f"]) -> Network:
    """Return the network with a level more.

    Args:
        network: The network.
        neurons: The w neurons of the new level, which read its output y.
        readout: The weights of the new output: first that of y, if the network is dense, but not
            where y is x and there is no skip; then one for each new neuron; then the constant. With
            1 for y and 0 for all else the output stays what it was.
    """
    old, width = network.architecture, len(neurons.slopes)
    n = old.num_neurons
    a = network.matrix.new_zeros(n + width + 1, n + width + 2)
    kept = [*range(n), n + width, n + width + 1]  # columns of what there was
    a[:n, kept] = network.matrix[:-1]
    # A neuron that reads y reads what y reads: its row is a multiple of the output's.
    a[n:-1, kept] = neurons.slopes[:, None] * network.matrix[-1]
    a[n:-1, -1] -= neurons.slopes * neurons.kinks
    if _keeps_output(old):
        a[-1, kept] = readout[0] * network.matrix[-1]
        readout = readout[1:]
    a[-1, n : n + width] = readout[:-1]
    a[-1, -1] += readout[-1]
    return Network(replace(old, levels=(*old.levels, width)), a)


def grow_level(
    network: Network,
    x: Float[Tensor, " N"],
    target: Float[Tensor, " N"],
    *,
    width: int,
    scale: float,
    candidates: int,
    generator: torch.Generator,
) -> Network:
    """Return the network with a level more, which fits best of several random candidates.

    Args:
        network: The network.
        x: The training points.
        target: What the output should be there.
        width: The number of neurons of the level, at least 1.
        scale: The absolute value of their slopes, above 0.
        candidates: How many levels are drawn, at least 1.
        generator: The source of randomness.

    Example:
        >>> from deqlab.expressivity.search import identity
        >>> x = torch.linspace(0, 1, 101, dtype=torch.float64)
        >>> grow = {"width": 1, "scale": 1.0, "candidates": 50}
        >>> generator = torch.Generator().manual_seed(0)
        >>> start = identity(Architecture((1,), dense=True))
        >>> tent = grow_level(start, x, 1 - (2 * x - 1).abs(), generator=generator, **grow)
        >>> (evaluate(tent, x) - 1 + (2 * x - 1).abs()).abs().max().item() < 0.05
        True
    """
    y = evaluate(network, x)
    shape = (candidates, width)
    slopes = scale * (2.0 * torch.randint(2, shape, generator=generator).to(y) - 1)
    kinks = y[torch.randint(len(y), shape, generator=generator)]
    if not network.architecture.dense:
        slopes[:, 0], kinks[:, 0] = scale, y.min() - MARGIN
    z = Neurons(slopes, kinks).values(y)
    beside = [y.expand(candidates, 1, -1)] if _keeps_output(network.architecture) else []
    features = torch.cat([*beside, z, torch.ones_like(z[:, :1])], dim=1)
    readouts = least_squares(features, target)
    outputs = torch.einsum("cf,cfn->cn", readouts, features)
    best = (outputs - target).square().mean(dim=1).argmin()
    return add_level(network, Neurons(slopes[best], kinks[best]), readouts[best])


def candidate_flops(architecture: Architecture, num_points: int) -> float:
    """Return the FLOPs of a candidate for the last level: F F' of its features F, and outputs."""
    features = architecture.levels[-1] + 1 + architecture.dense
    return num_points * 2.0 * (features**2 + 2 * features)


def _keeps_output(architecture: Architecture) -> bool:
    """Return whether a readout may have the row that reads what the output does."""
    return architecture.dense and (architecture.skip or len(architecture.levels) > 0)
