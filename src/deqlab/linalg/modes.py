"""Linear maps of periodic fields that act on the lowest Fourier modes, one matrix of channels each.

A field z has `channels` numbers at each of H x W points; z_k is its discrete Fourier transform at
the mode k = (k_1, k_2). The map takes z_k to R_k z_k where |k_1| < m and |k_2| < m, and all other
modes to 0. Real fields stay real where R_-k is the conjugate of R_k: (2m - 1)^2 real matrices P_k
say all of it, as in a Hartley transform,

    R_k = (P_k + P_-k) / 2 + i (P_k - P_-k) / 2,

and only the half with k_2 >= 0 is computed. The Fourier transform is unitary up to a factor. So in
the Euclidean norm the map is as large as the largest of its matrices, at every resolution that has
these modes, as 2m - 1 points along each side do: then no two of them are the same.

The transform is two products with the rows of its matrix that are wanted, and not a fast one of
all.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class Modes(NamedTuple):
    """The Fourier transform of the lowest modes at one resolution, and its inverse.

    Real numbers of complex ones stand in pairs, for `torch.view_as_complex`.

    Attributes:
        columns: From W points to m modes, (W, 2 m).
        rows: From H points to 2m - 1 modes, of which the negative ones come first, (2m - 1, H).
        rows_back: The inverse of that, (H, 2m - 1).
        columns_back: From m modes to W points, (2 m, W). All but mode 0 stand for two.
    """

    columns: Float[Tensor, "W k"]
    rows: Complex[Tensor, "r H"]
    rows_back: Complex[Tensor, "H r"]
    columns_back: Float[Tensor, "k W"]


def lowest_modes(
    num_modes: int, height: int, width: int, *, dtype: torch.dtype, device: torch.device
) -> Modes:
    """Return the transform of the modes |k| < num_modes at height x width points.

    Args:
        num_modes: m, at least 1.
        height: H.
        width: W.
        dtype: Of the fields: float32 or float64.
        device: Where they are.

    Raises:
        ValueError: The points do not have these modes.
    """
    check_grid(num_modes, height, width)
    along = _phases(torch.arange(num_modes), width)
    down = _phases(torch.arange(1 - num_modes, num_modes), height)
    twice = 2.0 - (torch.arange(num_modes) == 0).double()[:, None]
    columns = _pairs(along.conj().mT)
    # The real part of (p + i q)(cos + i sin) is p cos - q sin.
    columns_back = _pairs((twice / width * along).conj().mT).mT
    complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
    return Modes(
        columns=columns.to(device, dtype),
        rows=down.conj().resolve_conj().to(device, complex_dtype),
        rows_back=(down.mT / height).to(device, complex_dtype),
        columns_back=columns_back.to(device, dtype),
    )


def blocks_of(free: Float[Tensor, "r r o i"]) -> Complex[Tensor, "r m o i"]:
    """Return R_k with k_1 from 1 - m to m - 1 and k_2 from 0 to m - 1, of P_k with both as k_1."""
    mirrored = free.flip(0, 1)
    half = free.shape[1] // 2
    return torch.complex(free + mirrored, free - mirrored)[:, half:] / 2


def act_on_modes(
    z: Float[Tensor, "B i H W"], blocks: Complex[Tensor, "r m o i"], modes: Modes
) -> Float[Tensor, "B o H W"]:
    """Return the field whose modes are R_k z_k."""
    across = torch.view_as_complex((z @ modes.columns).unflatten(-1, (-1, 2)))  # (B, i, H, m)
    image = torch.einsum("birk,rkoi->bork", modes.rows @ across, blocks)
    back: Tensor = torch.view_as_real(modes.rows_back @ image).flatten(-2) @ modes.columns_back
    return back


def check_grid(num_modes: int, height: int, width: int) -> None:
    """Raise ValueError unless height x width points have all modes below `num_modes`."""
    if 2 * num_modes - 1 > min(height, width):
        raise ValueError(
            f"{height} x {width} points have no {num_modes} modes each way, which take "
            f"{2 * num_modes - 1} points along each side: at most {(min(height, width) + 1) // 2}"
        )


def _phases(modes: Tensor, points: int) -> Complex[Tensor, "k n"]:
    """Return exp(2 pi i k j / n) of each mode k and each point j, in double precision."""
    # The remainder first: k j may be large, and the phase would lose digits.
    turns = (modes[:, None] * torch.arange(points) % points).double() / points
    return torch.polar(torch.ones_like(turns), 2 * math.pi * turns)


def _pairs(matrix: Complex[Tensor, "n k"]) -> Float[Tensor, "n kk"]:
    return torch.view_as_real(matrix.resolve_conj()).flatten(-2)
