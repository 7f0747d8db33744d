"""What is said of a kernel matrix and its spectrum: errors, their rates, and points of curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import Kind, Trained
from deqlab.kernels.lowrank import LowRankPlusIdentity


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
    """A kernel matrix with its spectrum in descending order.

    Attributes:
        matrix: The kernel of n samples.
        values: All n eigenvalues.
        vectors: The leading eigenvectors, one a column.
    """

    matrix: Float[Tensor, "n n"]
    values: Float[Tensor, " n"]
    vectors: Float[Tensor, "n k"]


def spectrum_of(
    kernel: ImplicitKernel | ExplicitKernel, x: Float[Tensor, "n p"], kind: Kind, trained: Trained
) -> Spectrum:
    """Return the exact kernel of samples, with all eigenvectors.

    Args:
        kernel: The kernel of a DEQ, or of an explicit network.
        x: The samples.
        kind: "conjugate" or "tangent".
        trained: Which weights of a DEQ a tangent kernel belongs to.
    """
    if kind == "conjugate":
        matrix = kernel.conjugate(x)
    elif isinstance(kernel, ExplicitKernel):
        matrix = kernel.tangent(x)
    else:
        matrix = kernel.tangent(x, trained=trained)
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(matrix))
    return Spectrum(matrix=matrix, values=values, vectors=vectors)


def spectrum_of_equivalent(found: LowRankPlusIdentity, leading: int) -> Spectrum:
    """Return a low-rank equivalent with this many leading eigenvectors."""
    return Spectrum(
        matrix=found.dense(), values=found.eigvalsh().flip(0), vectors=found.leading(leading)[1]
    )


def alignments(found: Spectrum, exact: Spectrum, leading: int) -> list[float]:
    """Return how long each leading eigenvector is in the space of the exact ones; 1 is inside.

    Where eigenvalues are close, their eigenvectors are determined as a space, not each of them.
    """
    space = exact.vectors[:, :leading].T
    return [float((space @ found.vectors[:, i]).norm()) for i in range(leading)]


def relative_error(found: Float[Tensor, "n n"], exact: Float[Tensor, "n n"]) -> float:
    """Return |found - exact| / |exact| of symmetric matrices, in spectral norm."""
    gap, size = (torch.linalg.eigvalsh(m).abs().max() for m in (found - exact, exact))
    return float(gap / size)


def scaled_errors(found: Float[Tensor, "n n"], exact: Float[Tensor, "n n"]) -> tuple[float, float]:
    """Return the relative error in spectral norm, as it is and at the scale that fits best."""
    scale = (found * exact).sum() / (found * found).sum()
    size = torch.linalg.matrix_norm(exact, 2)
    gaps = (found - exact, scale * found - exact)
    error, scaled = (float(torch.linalg.matrix_norm(gap, 2) / size) for gap in gaps)
    return error, scaled


def power_law(errors: Sequence[float], sizes: Sequence[int]) -> float:
    """Return r of error ~ size^-r, between the first and the last size."""
    return -math.log(errors[-1] / errors[0]) / math.log(sizes[-1] / sizes[0])


def geometric_ranks(n: int, points: int = 60) -> list[int]:
    """Return at most `points` ranks from 1 to n that grow geometrically."""
    return list(map(int, np.unique(np.geomspace(1, n, min(n, points)).round().astype(int))))


def log_histogram(
    values: Float[Tensor, " n"],
    largest: float,
    *,
    low: float = 1e-4,
    high: float = 2.0,
    bins: int = 40,
) -> list[tuple[float, float]]:
    """Return a histogram on bins that grow geometrically.

    Args:
        values: Eigenvalues.
        largest: What the ends of the bins are relative to.
        low: The lower end of the first bin over `largest`, above 0.
        high: The upper end of the last one, likewise.
        bins: How many bins there are.

    Returns:
        The geometric centre of each bin, and the share of the n values in it.
    """
    edges = np.geomspace(low, high, bins + 1) * largest
    counts, _ = np.histogram(values.numpy(), edges)
    centres = [float((a * b) ** 0.5) for a, b in pairwise(edges)]
    return [(c, count / len(values)) for c, count in zip(centres, counts.tolist(), strict=True)]
