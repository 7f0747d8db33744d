"""Matrices of certificates in float64, and bounds of their norms and eigenvalues.

The weights are taken as the numbers that they are; what a theorem needs of them is computed in
float64. Singular values and eigenvalues of LAPACK are those of a matrix that differs from the
given one by at most p(n) eps |A|_F, with p a modest function of the size n (Golub & Van Loan 2013,
"Matrix Computations"). `allowance` takes p(n) = 4 n, more than is ever seen, and
every bound here is moved by it to the safe side: what holds, holds up to this assumption alone.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from deqlab.arguments import check_count, check_positive
from deqlab.stability.certificate import Certificate

Square = Float64[Tensor, "n n"]

EPS = torch.finfo(torch.float64).eps


def checked(weight: Tensor, slope: float) -> Square:
    """Return a weight in float64 on the host, if a theorem can be asked about it.

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of the activation.

    Raises:
        TypeError: `slope` is no number.
        ValueError: W is no square matrix, or `slope` is not above 0, and finite.
    """
    check_positive("slope", slope)
    if weight.ndim != 2 or weight.shape[0] != weight.shape[1] or not len(weight):
        raise ValueError(f"W must be a square matrix, got the shape {tuple(weight.shape)}")
    return weight.detach().to("cpu", torch.float64)


def matrix_of(
    product: Callable[[Tensor], Tensor], dim: int, *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "n n"]:
    """Return the matrix of a linear map that is given by its products.

    No number of products smaller than `dim` bounds a norm from above, so that a certificate needs
    them all; `spectral_radius` measures with fewer, and proves nothing.

    Args:
        product: The map, on the rows of a (dim, dim) matrix.
        dim: Its dimension.
        dtype: What the products are computed in.
    """
    check_count("dim", dim)
    return product(torch.eye(dim, dtype=dtype)).detach().mT


def allowance(dim: int, size: Float64[Tensor, ""] | float) -> float:
    """Return how far a computed singular value or eigenvalue may be off.

    Args:
        dim: The dimension n of the matrix.
        size: Its Frobenius norm, or that of what it was computed from.
    """
    return 4 * dim * EPS * float(size)


def norm_above(matrix: Shaped[Tensor, "*blocks n n"]) -> float:
    """Return a number that no spectral norm of a matrix, or of several, exceeds."""
    largest = float(torch.linalg.svdvals(matrix)[..., 0].max())
    # A complex matrix is a real one of twice the size.
    dim = matrix.shape[-1] * (2 if matrix.is_complex() else 1)
    return largest + allowance(dim, torch.linalg.matrix_norm(matrix).max())


def least_eigenvalue_below(symmetric: Square, *, size: Float64[Tensor, ""] | float = 0.0) -> float:
    """Return a number that no eigenvalue of a symmetric matrix falls below.

    Args:
        symmetric: The matrix.
        size: The Frobenius norm of what was added up to it, where that is larger than its own.
    """
    least = float(torch.linalg.eigvalsh(symmetric)[0])
    size = max(float(size), float(torch.linalg.matrix_norm(symmetric)))
    return least - allowance(len(symmetric), size)


def not_finite(weight: Tensor) -> Certificate | None:
    """Return what is known of a weight that is not finite, which is nothing; else None."""
    if bool(weight.isfinite().all()):
        return None
    return Certificate.unknown("the weight W is not finite")
