"""Batches of linear systems x+ = A x + B u: their shapes, and what no feedback can stabilise.

An eigenvalue lambda of A is out of reach of B if [A - lambda I, B] has rank below n (Popov,
Belevitch and Hautus); the pair is stabilisable if none of those has a modulus of 1 or more.
Source: Kailath (1980), "Linear Systems", section 6.2.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def check_shapes(matrices: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless each tensor ends in its shape, and is finite.

    Args:
        matrices: The tensors by name.
        shapes: The last dimensions of each, by name.
    """
    for name, shape in shapes.items():
        given = matrices[name]
        if tuple(given.shape[given.ndim - len(shape) :]) != shape:
            raise ValueError(
                f"{name} must have the shape (..., {', '.join(map(str, shape))}), got "
                f"{tuple(given.shape)}"
            )
        if not bool(given.detach().isfinite().all()):
            raise ValueError(f"{name} must be finite, got nan or inf in it")


def state_and_input_sizes(a: Tensor, b: Tensor) -> tuple[int, int]:
    """Return n and m of A (..., n, n) and B (..., n, m).

    Raises:
        ValueError: They are no matrices of one system.
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] == 0 or b.shape[-1] == 0:
        raise ValueError(
            "a system needs A of shape (..., n, n) and B of shape (..., n, m), got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    return a.shape[-1], b.shape[-1]


def symmetric(matrix: Float[Tensor, "*B n n"]) -> Float[Tensor, "*B n n"]:
    """Return the symmetric part: all that a quadratic form sees of its matrix."""
    return (matrix + matrix.mT) / 2


def check_definite(name: str, matrix: Float[Tensor, "*B n n"], *, strictly: bool) -> None:
    """Raise ValueError unless all symmetric matrices are positive (semi)definite.

    Args:
        name: What the sentence calls it.
        matrix: The matrices.
        strictly: Definite, and not merely semidefinite up to rounding.
    """
    values = torch.linalg.eigvalsh(matrix.detach())
    least = values[..., 0]
    rounding = 4 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps * values.abs().amax(dim=-1)
    wrong = ~(least > rounding) if strictly else ~(least >= -rounding)
    if bool(wrong.any()):
        kind = "positive definite" if strictly else "positive semidefinite"
        worst = float(least.min())
        raise ValueError(f"{name} must be {kind}, got an eigenvalue of {worst:.3g}")


def spectral_radius(matrix: Float[Tensor, "*B n n"]) -> Float[Tensor, "*B"]:
    """Return the largest modulus of an eigenvalue of each matrix, by LAPACK."""
    radius: Tensor = torch.linalg.eigvals(matrix.detach()).abs().amax(dim=-1)
    return radius


def unreachable_mode(
    a: Float[Tensor, "n n"], b: Float[Tensor, "n m"], *, least: float
) -> complex | None:
    """Return the eigenvalue of A of largest modulus that B does not reach.

    Args:
        a: A.
        b: B.
        least: Only eigenvalues of at least this modulus count.

    Returns:
        The eigenvalue; None if B reaches all of them, up to the root of rounding.
    """
    wide = torch.promote_types(a.dtype, torch.float64)
    a, b = a.detach().to(wide), b.detach().to(wide)
    small = torch.finfo(wide).eps ** 0.5 * torch.linalg.matrix_norm(torch.cat([a, b], dim=1))
    eye, worst = torch.eye(len(a), dtype=wide, device=a.device), None
    for value in torch.linalg.eigvals(a).tolist():
        pencil = torch.cat([a - value * eye, b.to(torch.complex128)], dim=1)
        reached = torch.linalg.svdvals(pencil)[-1] > small
        if abs(value) >= least and not reached and (worst is None or abs(value) > abs(worst)):
            worst = value
    return worst
