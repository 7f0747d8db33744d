"""What is kept of a spectrum, and of a network's cost."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.costs import flops, seconds
from deqlab.errors import ConvergenceError
from deqlab.experiments.base import Row
from deqlab.experiments.kernels.data import KernelData
from deqlab.kernels import ExplicitKernel, ImplicitKernel, ImplicitNetwork

RANKS, BINS, LEAST = 60, 40, 1e-4
"""Points of the curves: eigenvalues at ranks that grow geometrically, and bins of the histogram,
which goes down to this share of the largest eigenvalue."""


def curves(values: Float[Tensor, " n"], largest: float) -> Iterator[Row]:
    """Yield eigenvalues by rank, and their histogram on bins that are the same for all spectra.

    Args:
        values: In descending order.
        largest: Eigenvalue of the exact kernel.
    """
    n = len(values)
    for rank in np.unique(np.geomspace(1, n, min(n, RANKS)).round().astype(int)).tolist():
        yield {"kind": "eigenvalue", "rank": rank, "eigenvalue": float(values[rank - 1])}
    edges = np.geomspace(LEAST, 2.0, BINS + 1) * largest
    counts, _ = np.histogram(values.numpy(), edges)
    for low, high, count in zip(edges, edges[1:], counts.tolist(), strict=False):
        yield {"kind": "bin", "eigenvalue": float((low * high) ** 0.5), "share": count / n}


def cost(
    kernel: ImplicitKernel | ExplicitKernel,
    data: KernelData,
    width: int,
    seed: int,
    *,
    repeats: int = 5,
) -> Row:
    """Return what a network of finite width costs to evaluate on all samples.

    Nothing, if it is a DEQ that is not at its own equilibrium.
    """
    x, generator = data.x.float(), torch.Generator().manual_seed(seed)
    network = kernel.network(x.shape[1], width, tau0=data.tau0, generator=generator)
    if isinstance(network, ImplicitNetwork):
        network.on_failure = "raise"
    with torch.no_grad():
        try:
            operations, _ = flops(lambda: network(x))
        except ConvergenceError:
            return {}
        (taken,) = seconds([lambda: network(x)], repeats)
    return {"flops": operations, "inference_seconds": taken}
