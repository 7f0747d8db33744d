"""Networks to start from that are not grown: random ones, and perturbed ones."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.network import Architecture, Network
from deqlab.expressivity.search.readout import refit_readout

GAIN = 4.0
"""The standard deviation of random weights times the square root of how many a neuron has. Of 1, 2
and 4 it led to the least losses on the sawtooth with 2^5 regions, for DEQs and FNNs alike."""

SPARE = 0.3
"""The size that a weight of 0 counts as where noise is relative to the size of weights."""


def random_network(
    architecture: Architecture,
    x: Float[Tensor, " N"],
    target: Float[Tensor, " N"],
    generator: torch.Generator,
) -> Network:
    """Return a random network, each neuron of it bent at a random training point.

    The readout is the solution of a least-squares problem. Loops start at 0.

    Args:
        architecture: Which weights the network has.
        x: The training points.
        target: What the readout is fitted to.
        generator: The source of randomness.

    Example:
        >>> x = torch.linspace(0, 1, 101, dtype=torch.float64)
        >>> deq = Architecture((1,) * 5, dense=True)
        >>> random_network(deq, x, x.sin(), torch.Generator().manual_seed(0)).matrix.shape
        torch.Size([6, 7])
    """
    n = architecture.num_neurons
    mask = replace(architecture, loops=False).mask
    a = torch.randn(n + 1, n + 2, generator=generator, dtype=x.dtype) * mask
    a /= mask[:, :-1].sum(dim=1, keepdim=True).clamp_min(1).sqrt() / GAIN
    a[:, -1] = 0.0
    where = torch.randint(len(x), (n,), generator=generator)
    # Column i of s is the state at the point where neuron i is bent.
    s = torch.cat([x.new_zeros(n, n), x[where][None], x.new_ones(1, n)])
    for start, end in architecture.bounds:
        for neuron in range(start, end):
            a[neuron, -1] = -(a[neuron] @ s[:, neuron])
        s[start:end] = torch.relu(a[start:end] @ s)
    return refit_readout(Network(architecture, a), x, target)


def perturb(network: Network, noise: float, generator: torch.Generator) -> Network:
    """Return the network with relative Gaussian noise on its weights.

    A weight of 0 counts as 0.3. Of a loop w it is 1 - w that is multiplied, by exp(noise), so that
    w stays below 1.

    Args:
        network: The network.
        noise: The standard deviation of the noise, relative to the size of a weight; 0 or more.
        generator: The source of randomness.
    """
    weights, loops = network.weights, network.architecture.is_loop
    size = torch.where(weights == 0, SPARE, weights.abs())
    draw = torch.randn(len(weights), generator=generator, dtype=weights.dtype)
    moved = weights + noise * size * draw
    moved[loops] = 1 - (1 - weights[loops]) * torch.exp(noise * draw[loops])
    return network.with_weights(moved)
