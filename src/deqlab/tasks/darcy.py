"""Steady flow through a porous medium: from the permeability of a square to the pressure in it.

    -div(a grad u) = f  in the unit square,    u = 0  on its border.

The permeability a takes two values: `high` where a Gaussian random field of mean 0 and covariance
(-Laplace + tau^2 I)^-2, with zero slope at the border, is positive, and `low` elsewhere. Source:
Li, Kovachki, Azizzadenesheli, Liu, Bhattacharya, Stuart & Anandkumar (2021), "Fourier Neural
Operator for Parametric Partial Differential Equations": tau = 3, the values 12 and 3, f = 1. Here
the constant mode of the field is left out, so that neither value covers nearly all of the square,
and u is solved for at the points where it is asked for, and not at more of them.

Fields are numbers at n x n points, those of the border among them. Finite volumes: the cell of each
inner point exchanges c (u_p - u_q) with that of each neighbour, and these four add up to h^2 f_p.
The permeability between two points is their harmonic mean c = 2 a_p a_q / (a_p + a_q), which is
exact where a jumps half-way (Patankar 1980, "Numerical Heat Transfer and Fluid Flow").
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu
from torch import Tensor

from deqlab.arguments import check_count, check_positive

LOW, HIGH = 3.0, 12.0
"""The two values of a."""

TAU = 3.0
"""The inverse length of the Gaussian field: it varies over about 1 / TAU."""


def sample(
    count: int, *, size: int = 29, generator: torch.Generator
) -> tuple[Float[Tensor, "N n n"], Float[Tensor, "N n n"]]:
    """Draw permeabilities, and return them with the pressures of f = 1, both in float32.

    Args:
        count: N, at least 1.
        size: n, the points along a side, at least 3.
        generator: Draws the fields.

    Raises:
        TypeError: A number is not whole.
        ValueError: A number is outside its domain.

    Example:
        >>> a, u = sample(2, size=9, generator=torch.Generator().manual_seed(0))
        >>> a.unique().tolist(), u.shape, bool((u[:, 1:-1, 1:-1] > 0).all())
        ([3.0, 12.0], torch.Size([2, 9, 9]), True)
    """
    field = gaussian_field(count, size=size, generator=generator)
    a = torch.where(field > 0, HIGH, LOW)
    return a.float(), solve(a).float()


def gaussian_field(
    count: int, *, size: int, generator: torch.Generator, tau: float = TAU
) -> Float[Tensor, "N n n"]:
    """Draw Gaussian random fields of mean 0, in float64.

    The eigenfunctions of the covariance are cos(pi j x) cos(pi k y) for j, k below n, and its
    eigenvalues (pi^2 (j^2 + k^2) + tau^2)^-2; the one of j = k = 0 is left out.

    Args:
        count: N, at least 1.
        size: n, at least 3.
        generator: Draws the coefficients.
        tau: See the module, more than 0.

    Raises:
        TypeError: A number is of another kind.
        ValueError: A number is outside its domain.
    """
    check_count("count", count)
    check_size(size)
    check_positive("tau", tau)
    modes = math.pi * torch.arange(size, dtype=torch.float64)
    waves = torch.cos(torch.linspace(0, 1, size, dtype=torch.float64)[:, None] * modes)
    waves[:, 1:] *= 2**0.5  # of mean square 1
    deviations = 1 / (modes[:, None] ** 2 + modes**2 + tau**2)
    deviations[0, 0] = 0
    normal = torch.randn(count, size, size, generator=generator, dtype=torch.float64)
    return waves @ (deviations * normal) @ waves.mT


def solve(a: Float[Tensor, "..."], f: Float[Tensor, "..."] | float = 1.0) -> Float[Tensor, "..."]:
    """Return the pressure u of each permeability, with -div(a grad u) = f and u = 0 on the border.

    Args:
        a: The permeability at n x n points of the unit square, (..., n, n), positive; n is at
            least 3.
        f: The source, a number or one at each point; what stands at the border counts for nothing.

    Returns:
        u, in the shape and dtype and on the device of a; it has no gradient.

    Raises:
        ValueError: a is no field on a square grid, or is not positive and finite; or f does not
            fit it.
    """
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or a.shape[-1] < 3:
        raise ValueError(
            "a must be numbers at n x n points, (..., n, n) with n at least 3, got the shape "
            f"{tuple(a.shape)}"
        )
    if not bool(((a > 0) & a.isfinite()).all()):
        raise ValueError(
            f"a must be positive and finite everywhere, got values from {float(a.min()):.4g} to "
            f"{float(a.max()):.4g}"
        )
    size = a.shape[-1]
    fields = a.detach().to("cpu", torch.float64).reshape(-1, size, size)
    source = torch.as_tensor(f).detach().to("cpu", torch.float64)
    try:
        source = source.expand(a.shape).reshape(fields.shape)
    except RuntimeError as error:
        raise ValueError(
            f"f must be a number, or numbers that fit a of shape {tuple(a.shape)}, got the shape "
            f"{tuple(source.shape)}"
        ) from error
    u = torch.zeros_like(fields)
    for each, permeability, right in zip(u, fields.numpy(), source.numpy(), strict=True):
        inner = right[1:-1, 1:-1] / (size - 1) ** 2
        found = splu(_matrix(permeability), permc_spec="MMD_AT_PLUS_A").solve(inner.reshape(-1))
        each[1:-1, 1:-1] = torch.from_numpy(found).view(size - 2, size - 2)
    return u.view(a.shape).to(a)


def check_size(size: int) -> None:
    """Raise unless a grid of `size` points along a side has points inside.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below 3.
    """
    check_count("size", size)
    if size < 3:
        raise ValueError(f"size must be 3 or more, so that there are inner points, got {size}")


def _matrix(a: NDArray[np.float64]) -> csc_array:
    """Return the matrix of the balances at the inner points, of which row by row is numbered."""
    across = _between(a[1:-1, :-1], a[1:-1, 1:])  # (n - 2, n - 1), to the left and right
    down = _between(a[:-1, 1:-1], a[1:, 1:-1])  # (n - 1, n - 2), above and below
    number = np.arange((len(a) - 2) ** 2).reshape(len(a) - 2, -1)
    diagonal = across[:, :-1] + across[:, 1:] + down[:-1] + down[1:]
    right = (number[:, :-1], number[:, 1:], across[:, 1:-1])
    below = (number[:-1], number[1:], down[1:-1])
    rows, columns, values = [number.ravel()], [number.ravel()], [diagonal.ravel()]
    for one, other, exchanged in (right, below):
        rows += [one.ravel(), other.ravel()]
        columns += [other.ravel(), one.ravel()]
        values += [-exchanged.ravel()] * 2
    entries = (np.concatenate(rows), np.concatenate(columns))
    return csc_array((np.concatenate(values), entries), shape=(number.size, number.size))


def _between(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * a * b / (a + b)
