"""The verdict on each row of a solve, as a function of tensors.

The rules are those of `solvers.monitor` and `solvers.coupling`, which say them once and at length.
Here the verdicts are tensors on the device of the state, for a compiled loop must not look at a
number.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from deqlab.compiled.criterion import FLOAT, Rules, Scales, measure
from deqlab.solution import Status
from deqlab.solvers.criterion import DIVERGENCE, FALL, GROWING, GROWTH, SLACK

INTEGER = torch.int64


class Verdicts(NamedTuple):
    """What is known of each row; it runs as long as its status is MAX_STEPS."""

    status: Int64[Tensor, " B"]
    steps: Int64[Tensor, " B"]
    residual: Float64[Tensor, " B"]  # |f(z) - z| at the best iterate, as is the tolerance
    tolerance: Float64[Tensor, " B"]
    latest: tuple[Tensor, Tensor]  # both at the last iterate
    least: Float64[Tensor, " B"]  # the measure of the best iterate
    low: Float64[Tensor, " B"]  # the least measure since the largest
    peak: Float64[Tensor, " B"]  # the largest measure
    least_at: Int64[Tensor, " B"]
    improved_at: Int64[Tensor, " B"]
    behind: Bool[Tensor, " B"]  # whether the best iterate is an earlier one
    coupled: Bool[Tensor, ""]  # whether a row was seen to depend on others
    scales: Scales

    @property
    def running(self) -> Bool[Tensor, " B"]:
        """Whether the row needs another step."""
        return self.status == Status.MAX_STEPS.value

    @property
    def converged(self) -> Bool[Tensor, " B"]:
        """Whether the row has converged."""
        return self.status == Status.CONVERGED.value

    @property
    def unproven(self) -> Bool[Tensor, ""]:
        """Whether f was never evaluated at the value as a whole, and it matters."""
        failed = self.behind & (self.status != Status.NONFINITE.value)
        return failed.any() & (self.converged.any() | self.coupled)


def unknown(z: Float[Tensor, "B D"], scales: Scales) -> Verdicts:
    """Return the verdicts before the first iterate is judged; no two of them share numbers."""
    batch = z.shape[0]

    def of_each_row(value: int | float, dtype: torch.dtype) -> Tensor:
        return torch.full((batch,), value, dtype=dtype, device=z.device)

    return Verdicts(
        status=of_each_row(Status.MAX_STEPS.value, INTEGER),
        steps=of_each_row(0, INTEGER),
        residual=of_each_row(torch.inf, FLOAT),
        tolerance=of_each_row(torch.inf, FLOAT),
        latest=(of_each_row(torch.inf, FLOAT), of_each_row(torch.inf, FLOAT)),
        least=of_each_row(torch.inf, FLOAT),
        low=of_each_row(torch.inf, FLOAT),
        peak=of_each_row(torch.inf, FLOAT),
        least_at=of_each_row(0, INTEGER),
        improved_at=of_each_row(0, INTEGER),
        behind=of_each_row(False, torch.bool),
        coupled=torch.zeros((), dtype=torch.bool, device=z.device),
        scales=scales,
    )


def judge(
    known: Verdicts,
    best: Float[Tensor, "B D"],
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    count: Int64[Tensor, ""],
    rules: Rules,
    proving: Bool[Tensor, ""] | None = None,
) -> tuple[Verdicts, Float[Tensor, "B D"]]:
    """Return the verdicts and the best iterates, given also that f(z) = fz.

    Args:
        known: The verdicts on the iterates before.
        best: The best of these.
        z: The iterate.
        fz: Its image.
        count: Its number, counted from 1.
        rules: What it is held to.
        proving: Whether z is the value as a whole, on which no row passes another verdict.
    """
    scales, look = measure(known.scales, z, fz, rules)
    known, still = known._replace(scales=scales), known.converged
    if proving is not None:
        still = still & ~proving
    resumed = still & ~look.within & _has_changed(known, look.residual)
    known = known._replace(
        status=torch.where(resumed, Status.MAX_STEPS.value, known.status),
        latest=(look.residual, look.tolerance),
        least=torch.where(resumed, torch.inf, known.least),
        coupled=known.coupled | resumed.any(),
    )
    running, finite = known.running, look.measure.isfinite()
    if proving is not None:
        running = running & ~proving
    known = _rebase(known, look.anew & running)
    gains = running & (look.measure < known.least)  # false for nan
    done = running & look.within & finite & (count >= rules.solver.min_steps)
    take = gains | done
    known = _note_news(known, look.measure, running, gains, count, rules.solver.patience)
    least = torch.where(gains, look.measure, known.least)
    verdict = _give_up(known._replace(least=least), look.measure, count, rules.solver.patience)
    status = torch.where(running & ~take, verdict, known.status)
    found = known._replace(
        status=torch.where(done, Status.CONVERGED.value, status),
        steps=torch.where(running, count, known.steps),
        residual=torch.where(take, look.residual, known.residual),
        tolerance=torch.where(take, look.tolerance, known.tolerance),
        least=least,
        behind=torch.where(running, ~take, known.behind),
    )
    return found, torch.where(take[:, None], z, best)


def close(known: Verdicts, proven: Bool[Tensor, ""], out_of_steps: Bool[Tensor, ""]) -> Verdicts:
    """Return the verdicts at the end, true of the value also where rows depend on each other.

    Args:
        known: The verdicts on the last iterate.
        proven: Whether that was the value as a whole.
        out_of_steps: Whether the steps ran out.
    """
    rows = torch.where(proven, known.status != Status.NONFINITE.value, known.converged)
    residual, tolerance = known.latest
    changed = (rows & _has_changed(known, residual)).any()
    coupled, converged = known.coupled | changed, known.converged
    untrue = converged & coupled & ~converged.all()
    instead = torch.where(out_of_steps, Status.MAX_STEPS.value, Status.STAGNATED.value)
    return known._replace(
        status=torch.where(untrue, instead, known.status),
        residual=torch.where(rows & changed, residual, known.residual),
        tolerance=torch.where(rows & changed, tolerance, known.tolerance),
        coupled=coupled,
    )


def _has_changed(known: Verdicts, residual: Float64[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """Return which rows have another residual at their point than when they were judged."""
    return ~((residual - known.residual).abs() <= SLACK * known.residual)


def _rebase(known: Verdicts, rows: Bool[Tensor, " B"]) -> Verdicts:
    """Return the verdicts, where the iterates of these rows are ranked anew from now on."""
    return known._replace(
        least=torch.where(rows, torch.inf, known.least),
        low=torch.where(rows, torch.inf, known.low),
        peak=torch.where(rows, 0.0, known.peak),
    )


def _note_news(
    known: Verdicts,
    measure: Tensor,
    running: Tensor,
    gains: Tensor,
    count: Tensor,
    patience: int,
) -> Verdicts:
    """Return the verdicts, now that rows may have shown anything new."""
    peak = torch.where(count == 1, measure, known.peak)
    least_at = torch.where(gains, count, known.least_at)
    grew, lower = measure > GROWTH * peak, FALL * measure < known.low
    news = gains | (grew & (count - least_at < GROWING * patience)) | lower
    return known._replace(
        peak=torch.where(grew, measure, peak),
        low=torch.where(grew | lower, measure, known.low),
        least_at=least_at,
        improved_at=torch.where(running & news, count, known.improved_at),
    )


def _give_up(known: Verdicts, measure: Tensor, count: Tensor, patience: int) -> Tensor:
    """Return the verdict on rows that did not get better."""
    verdict = torch.where(
        count - known.improved_at >= patience, Status.STAGNATED.value, Status.MAX_STEPS.value
    )
    verdict = torch.where(measure > DIVERGENCE * known.least, Status.DIVERGED.value, verdict)
    return torch.where(measure.isfinite(), verdict, Status.NONFINITE.value)
