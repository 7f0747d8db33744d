"""Where networks start that are not grown: at random weights, or near an exact construction."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.expressivity.constructions import narrow_sawtooth, sawtooth_fnn
from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.growth import least_squares
from deqlab.expressivity.search.network import Network, Wiring
from deqlab.nn import DenseCell

GAIN = 4.0
"""Of random weights: their standard deviation is 4 / sqrt(what a neuron reads). Of 1, 2 and
4 it led to the least losses on s_5, for DEQs and FNNs alike."""

SPARE = 0.3
"""Weights that an exact construction does not need get noise of 0.3 times the relative one."""


def drawn(
    wiring: Wiring,
    x: Float[Tensor, " N"],
    target: Float[Tensor, " N"],
    generator: torch.Generator,
) -> Network:
    """Return a random network, each neuron of it bent at a random training point.

    The readout is the solution of a least-squares problem. Loops start at 0.

    Args:
        wiring: Its wiring.
        x: Training points.
        target: What the readout is fitted to.
        generator: The source of randomness.
    """
    n = wiring.num_neurons
    mask = replace(wiring, loops=False).mask
    a = torch.randn(n + 1, n + 2, generator=generator, dtype=x.dtype) * mask
    a /= mask[:, :-1].sum(dim=1, keepdim=True).clamp_min(1).sqrt() / GAIN
    a[:, -1] = 0.0
    where = torch.randint(len(x), (n,), generator=generator)
    s = torch.cat([x.new_zeros(n, n), x[where][None], x.new_ones(1, n)])  # at the points of bends
    for start, end in wiring.bounds:
        for neuron in range(start, end):
            a[neuron, -1] = -(a[neuron] @ s[:, neuron])
        s[start:end] = torch.relu(a[start:end] @ s)
    return refitted(Network(wiring, a), x, target)


def refitted(network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"]) -> Network:
    """Return the network with the readout that fits best."""
    read = network.wiring.mask[-1]
    # The readout enters linearly: its derivatives are what it reads.
    _, j = Substitution(network.wiring, x).jacobian(network.weights)
    features = j[network.wiring.entries[0] == network.wiring.num_neurons]
    a = network.matrix.clone()
    a[-1, read] = least_squares(features[None], target)[0]
    return Network(network.wiring, a)


def exact_deq(log2_regions: int, width: int) -> Network:
    """Return the sawtooth as a DEQ of at least k neurons; those after the k-th do nothing."""
    network, k = narrow_sawtooth(log2_regions), log2_regions
    cell = network.layer.cell
    assert isinstance(cell, DenseCell)
    assert network.skip is not None
    a = torch.zeros(width + 1, width + 2, dtype=torch.float64)
    a[:k, :k] = cell.weight.detach()
    a[:k, -2:] = torch.stack([cell.inject.weight[:, 0], cell.inject.bias], dim=1).detach()
    a[-1, :k] = network.readout.weight[0].detach()
    a[-1, -2] = network.skip.weight[0, 0].detach()
    return Network(Wiring((1,) * width, dense=True), a)


def exact_fnn(log2_regions: int) -> Network:
    """Return the sawtooth as an FNN of k levels of 2 neurons."""
    linear = [module for module in sawtooth_fnn(log2_regions) if isinstance(module, nn.Linear)]
    n, wiring = 2 * log2_regions, Wiring((2,) * log2_regions, dense=False)
    a = torch.zeros(n + 1, n + 2, dtype=torch.float64)
    for level, layer in enumerate(linear):
        rows = slice(2 * level, 2 * level + layer.out_features)
        columns = slice(n, n + 1) if level == 0 else slice(2 * level - 2, 2 * level)
        a[rows, columns] = layer.weight.detach()
        a[rows, -1] = layer.bias.detach()
    return Network(wiring, a)


def disturbed(network: Network, noise: float, generator: torch.Generator) -> Network:
    """Return the network with relative Gaussian noise on its weights.

    Of a loop w it is 1 - w that is multiplied, by exp(noise), so that w stays below 1.
    """
    weights, loops = network.weights, network.wiring.is_loop
    size = torch.where(weights == 0, SPARE, weights.abs())
    draw = torch.randn(len(weights), generator=generator, dtype=weights.dtype)
    moved = weights + noise * size * draw
    moved[loops] = 1 - (1 - weights[loops]) * torch.exp(noise * draw[loops])
    return network.having(moved)
