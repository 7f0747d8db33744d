"""Data and gold for the kernel tests."""

import math

import torch

from deqlab.kernels import GaussianMixture

F64 = torch.float64


def published_mixture(p: int) -> GaussianMixture:
    """Two balanced classes, n = 0.8 p, mu_a = 8 e_(8a), C_a = (1 + 8 a / sqrt(p)) I."""
    means = torch.zeros(2, p, dtype=F64)
    means[0, 0] = means[1, 8] = 8.0
    labels = torch.arange(2).repeat_interleave(round(0.4 * p))
    return GaussianMixture(means, torch.tensor([1.0, 1 + 8 / math.sqrt(p)]), labels)


def draw(mixture: GaussianMixture, seed: int = 0) -> torch.Tensor:
    """One draw of the data."""
    return mixture.sample(torch.Generator().manual_seed(seed))


def spectral_norm(matrix: torch.Tensor) -> float:
    """The largest eigenvalue of a symmetric matrix, in size."""
    return float(torch.linalg.eigvalsh(matrix).abs().max())


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Of symmetric matrices, in spectral norm."""
    return spectral_norm(found - exact) / spectral_norm(exact)
