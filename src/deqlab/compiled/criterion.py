"""What a row is held to, as a function of tensors: the criterion of `solvers.loop.criterion`.

All norms are summed in float64, for a compiler fuses the conversion into the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from deqlab.solvers import Solver
from deqlab.solvers.loop.criterion import ROUNDING, SCALE_CAP, STANDING

FLOAT = torch.float64


class Scales(NamedTuple):
    """The scale of each block of each row, (B, K); they share no numbers."""

    start: Float64[Tensor, "B K"]  # max(|z0|, |f(z0)|), or the first |f(z)| of a block at rest
    reach: Float64[Tensor, "B K"]  # the largest |f(z) - z| beyond the cap, or the start


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a row is held to: the settings of the solver."""

    solver: Solver[Any]
    blocks: tuple[int, ...]
    late: Bool[Tensor, "B K"]  # blocks that start at rest


class Look(NamedTuple):
    """One iterate of every row, measured; see `solvers.criterion.Look`."""

    residual: Float64[Tensor, " B"]
    tolerance: Float64[Tensor, " B"]
    measure: Float64[Tensor, " B"]
    within: Bool[Tensor, " B"]
    rounding: Float64[Tensor, " B"]  # what the measure may be by rounding alone
    anew: Bool[Tensor, " B"]  # rows with a block that was at rest and has moved


def scale_at_start(
    z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Scales:
    """Return max(|z0|, |f(z0)|) in each block."""
    start = torch.maximum(row_norms(z, blocks), row_norms(fz, blocks))
    return Scales(start, start.clone())


def row_norms(matrix: Float[Tensor, "B D"], blocks: Sequence[int]) -> Float64[Tensor, "B K"]:
    """Return the norm of each row within each block of columns, (B, K)."""
    parts = [matrix] if len(blocks) == 1 else matrix.split(list(blocks), dim=1)
    return torch.stack([_norm(part) for part in parts], dim=1)


def measure(
    scales: Scales, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], rules: Rules
) -> tuple[Scales, Look]:
    """Return an iterate, measured, and the scales that it leaves."""
    solver, late, eps = rules.solver, rules.late, torch.finfo(z.dtype).eps
    residuals, sizes = row_norms(fz - z, rules.blocks), row_norms(fz, rules.blocks)
    cap = SCALE_CAP * torch.where(late, scales.reach, scales.start)
    genuine = (residuals > eps**0.5 * sizes) & residuals.isfinite() & ((sizes > cap) | late)
    reach = torch.where(genuine, torch.maximum(scales.reach, residuals), scales.reach)
    moved = late & (scales.start == 0) & (sizes > 0) & sizes.isfinite()
    start = torch.where(moved, sizes, scales.start)
    reach = torch.maximum(reach, start)
    cap = SCALE_CAP * torch.where(late, reach, start)
    tolerances = torch.maximum(solver.rtol * torch.minimum(sizes, cap), solver.rtol * eps * start)
    tolerances = solver.atol + tolerances
    # Far out, f(z) - z is mostly rounding: z + 1 is z at 1e16.
    rounding = torch.where(sizes > cap, eps / 2 * sizes, 0.0)
    stands = (residuals == 0) & (STANDING * rounding <= reach)
    counted = torch.where(stands, residuals, torch.maximum(residuals, rounding))
    within = (counted <= tolerances).all(dim=1)
    scales = Scales(start, reach)
    if len(rules.blocks) == 1:
        residual, tolerance, counted = residuals[:, 0], tolerances[:, 0], counted[:, 0]
        rounding = ROUNDING * eps * sizes[:, 0]
        return scales, Look(residual, tolerance, counted, within, rounding, moved[:, 0])
    relative, rounding = in_units(counted, scales), ROUNDING * eps * in_units(sizes, scales)
    anew = moved.any(dim=1)
    return scales, Look(_norm(residuals), _norm(tolerances), relative, within, rounding, anew)


def distance(
    scales: Scales, z: Float[Tensor, "B D"], best: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float64[Tensor, " B"]:
    """Return how far z is from `best`, in units of the measure."""
    norms = row_norms(z - best, blocks)
    return norms[:, 0] if len(blocks) == 1 else in_units(norms, scales)


def in_units(parts: Float64[Tensor, "B K"], scales: Scales) -> Float64[Tensor, " B"]:
    """Return the norm of each row, of parts in units of the scale of their block."""
    return _norm(parts / scales.start.clamp_min(torch.finfo(FLOAT).tiny))


def _norm(matrix: Tensor) -> Tensor:
    """Return the norm of each row, also where squares overflow or vanish."""
    norm: Tensor
    if matrix.dtype != FLOAT or not matrix.shape[1]:
        norm = torch.linalg.vector_norm(matrix, dim=1, dtype=FLOAT)
        return norm  # float64 holds the squares of all other dtypes
    largest = matrix.abs().amax(dim=1)
    unit = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    norm = torch.linalg.vector_norm(matrix / unit[:, None], dim=1) * unit
    return norm
