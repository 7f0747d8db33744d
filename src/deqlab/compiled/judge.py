"""The verdict on each row of a solve, as a function of tensors.

The rules are those of `solvers.monitor`, which says them once and at length. Here the verdicts are
tensors on the device of the state, for a compiled loop must not look at a number; all norms are
summed in float64, for a compiler fuses the conversion into the sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from deqlab.solution import Status
from deqlab.solvers import Solver
from deqlab.solvers.monitor import DIVERGENCE, SCALE_CAP

FLOAT, INTEGER = torch.float64, torch.int64


class Verdicts(NamedTuple):
    """What is known of each row; it runs as long as its status is MAX_STEPS."""

    status: Int64[Tensor, " B"]
    steps: Int64[Tensor, " B"]
    residual: Float64[Tensor, " B"]  # |f(z) - z| at the best iterate, as is the tolerance
    tolerance: Float64[Tensor, " B"]
    least: Float64[Tensor, " B"]  # the measure of the best iterate
    improved_at: Int64[Tensor, " B"]

    @property
    def running(self) -> Bool[Tensor, " B"]:
        """Whether the row needs another step."""
        return self.status == Status.MAX_STEPS.value


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a row is held to: the settings of the solver, in the scale that each block starts at."""

    solver: Solver[Any]
    blocks: tuple[int, ...]
    start: Float64[Tensor, "B K"]


class Look(NamedTuple):
    """One iterate of every row, measured; see `solvers.monitor.Look`."""

    residual: Float64[Tensor, " B"]
    tolerance: Float64[Tensor, " B"]
    measure: Float64[Tensor, " B"]
    within: Bool[Tensor, " B"]


def unknown(z: Float[Tensor, "B D"]) -> Verdicts:
    """Return the verdicts before the first iterate is judged."""
    batch = z.shape[0]

    def of_each_row(value: int | float, dtype: torch.dtype) -> Tensor:
        return torch.full((batch,), value, dtype=dtype, device=z.device)

    return Verdicts(
        status=of_each_row(Status.MAX_STEPS.value, INTEGER),
        steps=of_each_row(0, INTEGER),
        residual=of_each_row(torch.inf, FLOAT),
        tolerance=of_each_row(torch.inf, FLOAT),
        least=of_each_row(torch.inf, FLOAT),
        improved_at=of_each_row(0, INTEGER),
    )


def scale_at_start(
    z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], blocks: Sequence[int]
) -> Float64[Tensor, "B K"]:
    """Return max(|z0|, |f(z0)|) in each block, (B, K); of the row where a block is zero."""
    start = torch.maximum(row_norms(z, blocks), row_norms(fz, blocks))
    return torch.where(start > 0, start, _norm(start)[:, None])


def judge(
    known: Verdicts,
    best: Float[Tensor, "B D"],
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    count: Int64[Tensor, ""],
    rules: Rules,
) -> tuple[Verdicts, Float[Tensor, "B D"]]:
    """Return the verdicts and the best iterates, given also that f(z) = fz.

    Args:
        known: The verdicts on the iterates before.
        best: The best of these.
        z: The iterate.
        fz: Its image.
        count: Its number, counted from 1.
        rules: What it is held to.
    """
    look, solver = _look(z, fz, rules), rules.solver
    finite = look.measure.isfinite()
    gains = known.running & (look.measure < known.least)  # false for nan
    done = known.running & look.within & finite & (count >= solver.min_steps)
    take = gains | done
    least = torch.where(gains, look.measure, known.least)
    improved_at = torch.where(gains, count, known.improved_at)

    verdict = torch.where(
        count - improved_at >= solver.patience, Status.STAGNATED.value, known.status
    )
    verdict = torch.where(look.measure > DIVERGENCE * least, Status.DIVERGED.value, verdict)
    verdict = torch.where(finite, verdict, Status.NONFINITE.value)
    status = torch.where(known.running & ~take, verdict, known.status)
    found = Verdicts(
        status=torch.where(done, Status.CONVERGED.value, status),
        steps=torch.where(known.running, count, known.steps),
        residual=torch.where(take, look.residual, known.residual),
        tolerance=torch.where(take, look.tolerance, known.tolerance),
        least=least,
        improved_at=improved_at,
    )
    return found, torch.where(take[:, None], z, best)


def row_norms(matrix: Float[Tensor, "B D"], blocks: Sequence[int]) -> Float64[Tensor, "B K"]:
    """Return the norm of each row within each block of columns, (B, K)."""
    parts = [matrix] if len(blocks) == 1 else matrix.split(list(blocks), dim=1)
    return torch.stack([_norm(part) for part in parts], dim=1)


def _look(z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], rules: Rules) -> Look:
    start, blocks, solver = rules.start, rules.blocks, rules.solver
    residuals, sizes = row_norms(fz - z, blocks), row_norms(fz, blocks)
    cap = SCALE_CAP * start
    tolerances = solver.atol + solver.rtol * torch.minimum(sizes, cap)
    # Far out, f(z) - z is mostly rounding: z + 1 is z at 1e16.
    rounding = torch.where(sizes > cap, torch.finfo(z.dtype).eps / 2 * sizes, 0.0)
    counted = torch.maximum(residuals, rounding)
    within = (counted <= tolerances).all(dim=1)
    if len(blocks) == 1:
        return Look(residuals[:, 0], tolerances[:, 0], counted[:, 0], within)
    relative = counted / start.clamp_min(torch.finfo(FLOAT).tiny)
    return Look(
        _norm(residuals),
        _norm(tolerances),
        _norm(relative),
        within,
    )


def _norm(matrix: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(matrix, dim=1, dtype=FLOAT)
    return norm
