"""The verdict on each row of a solve, as a function of tensors.

The rules are those of `solvers.loop`, which says them once and at length. Here the
verdicts are tensors on the device of the state, for a compiled loop must not look at a number.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from deqlab.compiled.criterion import FLOAT, Look, Rules, Scales, distance, measure
from deqlab.solution import Status
from deqlab.solvers.loop.criterion import SLACK
from deqlab.solvers.loop.progress import Course, advance, grows_without_bound

INTEGER = torch.int64


class Verdicts(NamedTuple):
    """What is known of each row; it runs as long as its status is MAX_STEPS."""

    status: Int64[Tensor, " B"]
    steps: Int64[Tensor, " B"]
    residual: Float64[Tensor, " B"]  # |f(z) - z| at the best iterate, as is the tolerance
    tolerance: Float64[Tensor, " B"]
    latest: tuple[Tensor, Tensor]  # both at the last iterate
    least: Float64[Tensor, " B"]  # the measure of the best iterate
    before: Float64[Tensor, " B"]  # the measure of the last iterate
    course: Course
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
        """Whether f was never evaluated at the value as a whole."""
        apart = self.converged.any() | (self.least_at != self.least_at[:1]).any()
        return (self.behind & self.residual.isfinite()).any() & apart


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
        before=of_each_row(torch.inf, FLOAT),
        course=Course(*(of_each_row(torch.inf, FLOAT) for _ in Course._fields)),
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
        coupled=known.coupled | resumed.any(),
    )
    running, finite = known.running, look.measure.isfinite()
    if proving is not None:
        running = running & ~proving
    known = _forget_best(known, resumed | (look.anew & running))
    gains = running & (look.measure < known.least)  # false for nan
    done = running & look.within & finite & (count >= rules.solver.min_steps)
    take = gains | done
    away = distance(scales, z, best, rules.blocks)
    known = _note_progress(known, look, gains, running & ~take, away, count)
    verdict = _give_up(known, look.measure, count, rules.solver.patience)
    status = torch.where(running, verdict, known.status)
    found = known._replace(
        status=torch.where(done, Status.CONVERGED.value, status),
        steps=torch.where(running, count, known.steps),
        residual=torch.where(take, look.residual, known.residual),
        tolerance=torch.where(take, look.tolerance, known.tolerance),
        before=look.measure,
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
    rows = torch.where(proven, known.residual.isfinite(), known.converged)
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


def _forget_best(known: Verdicts, rows: Bool[Tensor, " B"]) -> Verdicts:
    """Return the verdicts, where the iterates of these rows are ranked anew from now on."""
    low = torch.where(rows, torch.inf, known.course.low)
    return known._replace(
        least=torch.where(rows, torch.inf, known.least), course=known.course._replace(low=low)
    )


def _note_progress(
    known: Verdicts,
    look: Look,
    gains: Bool[Tensor, " B"],
    rest: Bool[Tensor, " B"],
    away: Float64[Tensor, " B"],
    count: Int64[Tensor, ""],
) -> Verdicts:
    """Return the verdicts, now that rows may have made progress.

    Args:
        known: The verdicts on the iterates before.
        look: The iterate, measured.
        gains: Rows for which it is the best one.
        rest: The other rows that still run.
        away: How far it is from the best one before.
        count: Its number.
    """
    rest = rest & (look.measure > look.rounding)
    course, progress = advance(known.course, look.measure, gains, rest, away)
    return known._replace(
        course=course,
        least=torch.where(gains, look.measure, known.least),
        least_at=torch.where(gains, count, known.least_at),
        improved_at=torch.where(progress, count, known.improved_at),
    )


def _give_up(known: Verdicts, measure: Tensor, count: Tensor, patience: int) -> Tensor:
    """Return the verdict on rows that have not converged."""
    verdict = torch.where(
        count - known.improved_at >= patience, Status.STAGNATED.value, Status.MAX_STEPS.value
    )
    since = count - known.least_at
    grows = grows_without_bound(measure, known.before, known.least, since)
    verdict = torch.where(grows, Status.DIVERGED.value, verdict)
    return torch.where(measure.isfinite(), verdict, Status.NONFINITE.value)
