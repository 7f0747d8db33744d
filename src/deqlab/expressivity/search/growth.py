"""Growth by feedback of the output: one level a stage, on one sawtooth after another.

A stage has a network with output y close to s_j, and the target s_k, k > j. Each new neuron reads
the output, bent at one of its values p:

    z = relu(a (y - p))

Candidates differ in the sign of a and in p, which is y at a random training point; the readout of
each is the solution of a least-squares problem, and the one of least training loss is kept. Then
Levenberg-Marquardt moves all weights. A DEQ keeps y beside the new neuron, as its readout may have
any row that reads what the output did. An FNN must carry y through its new level: the first neuron
of one, relu(y - min y + 1/4), is y but for a constant.

The recipe encodes what the target is: s_k = T(s_(k-1)), so in y each stage is the same problem, the
tent map on [0, 1]. It is derived here, and searched for with the sawtooth in view.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.network import Network, Wiring

MARGIN = 0.25
"""Between the least output and the bend of the neuron that carries it: test points may be lower."""

RIDGE = 1e-10
"""Of the least-squares readout, for candidates whose neurons are constant."""


@dataclass(frozen=True)
class Neurons:
    """The neurons of a new level: relu(slope (y - kink))."""

    slopes: Float[Tensor, "*C w"]
    kinks: Float[Tensor, "*C w"]

    def values(self, y: Float[Tensor, " N"]) -> Float[Tensor, "*C w N"]:
        """Return the neurons where the output is y."""
        return torch.relu(self.slopes[..., None] * (y - self.kinks[..., None]))


def targets(log2_regions: int, stages: int) -> tuple[int, ...]:
    """Return k of each stage: 1, 2, .. with what is left over at the end, or evenly ahead.

    Example:
        >>> targets(5, 3), targets(3, 5)
        ((2, 4, 5), (1, 2, 3, 3, 3))
    """
    if stages >= log2_regions:
        return tuple(min(stage, log2_regions) for stage in range(1, stages + 1))
    return tuple(math.ceil(stage * log2_regions / stages) for stage in range(1, stages + 1))


def share(steps: int, stages: int) -> Iterator[int]:
    """Yield the steps of each stage, as even as can be.

    Example:
        >>> list(share(7, 3))
        [2, 2, 3]
    """
    for stage in range(stages):
        yield steps * (stage + 1) // stages - steps * stage // stages


def grown(network: Network, neurons: Neurons, readout: Float[Tensor, " f"]) -> Network:
    """Return the network with a level more.

    Args:
        network: The network.
        neurons: Of the new level, which read its output.
        readout: Of the new output: from y, if the network is dense, but not where y is x and there
            is no skip; from each new neuron; and the constant. With 1 for y and 0 for all else the
            output stays what it was.
    """
    old, width = network.wiring, len(neurons.slopes)
    n, wiring = old.num_neurons, replace(old, levels=(*old.levels, width))
    a = network.matrix.new_zeros(n + width + 1, n + width + 2)
    kept = [*range(n), n + width, n + width + 1]  # columns of what there was
    a[:n, kept] = network.matrix[:-1]
    a[n:-1, kept] = neurons.slopes[:, None] * network.matrix[-1]
    a[n:-1, -1] -= neurons.slopes * neurons.kinks
    if _keeps_output(old):
        a[-1, kept] = readout[0] * network.matrix[-1]
        readout = readout[1:]
    a[-1, n : n + width] = readout[:-1]
    a[-1, -1] += readout[-1]
    return Network(wiring, a)


def sprouted(
    network: Network,
    x: Float[Tensor, " N"],
    target: Float[Tensor, " N"],
    *,
    width: int,
    scale: float,
    candidates: int,
    generator: torch.Generator,
) -> Network:
    """Return the network with the level that fits best of several candidates.

    Args:
        network: The network.
        x: Training points.
        target: What the output should be there.
        width: Neurons of the level.
        scale: Size of their slopes.
        candidates: How many are drawn.
        generator: The source of randomness.
    """
    y = Substitution(network.wiring, x).output(network.weights)
    shape = (candidates, width)
    slopes = scale * (2.0 * torch.randint(2, shape, generator=generator).to(y) - 1)
    kinks = y[torch.randint(len(y), shape, generator=generator)]
    if not network.wiring.dense:
        slopes[:, 0], kinks[:, 0] = scale, y.min() - MARGIN
    z = Neurons(slopes, kinks).values(y)
    beside = [y.expand(candidates, 1, -1)] if _keeps_output(network.wiring) else []
    features = torch.cat([*beside, z, torch.ones_like(z[:, :1])], dim=1)
    readouts = least_squares(features, target)
    outputs = torch.einsum("cf,cfn->cn", readouts, features)
    best = (outputs - target).square().mean(dim=1).argmin()
    return grown(network, Neurons(slopes[best], kinks[best]), readouts[best])


def _keeps_output(wiring: Wiring) -> bool:
    """Whether a readout may have the row that reads what the output does."""
    return wiring.dense and (wiring.skip or len(wiring.levels) > 0)


def least_squares(
    features: Float[Tensor, "C f N"], target: Float[Tensor, " N"]
) -> Float[Tensor, "C f"]:
    """Return the combinations of features that are closest to the target."""
    gram = features @ features.mT / len(target)
    gram = gram + RIDGE * torch.eye(gram.shape[1], dtype=gram.dtype)
    found: Tensor = torch.linalg.solve(gram, features @ target / len(target))
    return found
