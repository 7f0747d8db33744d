"""The verdict on each row of a solve, by the criterion of `criterion`.

A row runs until it is within its tolerance (CONVERGED), or until nothing is to be hoped for:

- STAGNATED: for `patience` iterates it has made no progress, see `progress`.
- DIVERGED: its residual has grown by 1e29, over many steps, and grows on.
- NONFINITE: f(z) is not finite.

A finished row is held where it is. If f couples the rows, it may run again: see `coupled_rows`.

The functions are pure, take numpy arrays and tensors, and look at no number of a tensor.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from deqlab.linalg.arrays import Array, filled, is_finite, known_none, where, zeros_like
from deqlab.solvers.loop.criterion import ROUNDING, Look, Rules, in_units
from deqlab.solvers.loop.progress import (
    CONVERGED,
    MAX_STEPS,
    Course,
    advance,
    grows_without_bound,
    hopeless,
    is_lower,
)


class Verdicts(NamedTuple):
    """What is known of each row, (B,); it runs as long as its status is MAX_STEPS."""

    status: Array
    steps: Array  # the iterations until the verdict
    residual: Array  # |f(z) - z| at the best iterate
    tolerance: Array  # at the best iterate
    latest: tuple[Array, Array]  # residual and tolerance at the last iterate
    least: Array  # the measure of the best iterate
    before: Array  # the measure of the last iterate
    course: Course
    least_at: Array  # the number of the best iterate, counted from 1
    improved_at: Array  # the number of the last iterate that was progress
    behind: Array  # whether the best iterate is an earlier one
    coupled: Array  # (), whether a row was seen to depend on others


def unknown(like: Array) -> Verdicts:
    """Return the verdicts before the first iterate; `like` has the rows, on their device."""
    never, none, inf = filled(0, like), filled(False, like), filled(float("inf"), like)
    return Verdicts(
        status=filled(MAX_STEPS, like),
        steps=never,
        residual=inf,
        tolerance=inf,
        latest=(inf, inf),
        least=inf,
        before=inf,
        course=Course(inf, inf, inf),
        least_at=never,
        improved_at=never,
        behind=none,
        coupled=none.any(),  # one bool, on the device of the others
    )


def all_better(known: Verdicts, look: Look, count: int) -> Verdicts:
    """Return what `judge` does where all rows run, make progress, and none is within tolerance."""
    measure, at = look.measure, filled(count, look.measure)
    return Verdicts(
        known.status,
        at,
        look.residual,
        look.tolerance,
        (look.residual, look.tolerance),
        measure,
        measure,
        Course(measure, measure, measure),
        at,
        at,
        look.within,  # nowhere
        known.coupled,
    )


def of_each_row(known: Verdicts) -> dict[str, Any]:
    """Return what a `Solution` says of each row, by the names of its fields."""
    return {
        "residual": known.residual,
        "tolerance": known.tolerance,
        "status": known.status,
        "steps": known.steps,
    }


def judge(
    known: Verdicts,
    look: Look,
    count: Array | int,
    rules: Rules,
    *,
    resumed: Array | None,
    unit: Array,
    late: Array | None,
    away: Callable[[], Array],
) -> tuple[Verdicts, Array]:
    """Return the verdicts given another iterate, and the rows for which it is the one to return.

    Args:
        known: The verdicts on the iterates before.
        look: The iterate, measured.
        count: Its number, counted from 1.
        rules: The settings of the solver.
        resumed: Rows that had converged and run again, see `coupled_rows`; None if there is none.
        unit: What measures are in units of, see `Bounds`.
        late: Blocks that started at rest, see `Scales`.
        away: Returns the distance of the iterate from the best one in each block, (B, K).
    """
    if resumed is not None:
        known = _run_again(known, resumed)
    running, measure = known.status == MAX_STEPS, look.measure
    if look.woken is not None:  # a block that was at rest counts from now on
        known = _forget_best(known, look.woken & running)
    gains = running & (measure < known.least)  # false for nan
    done = running & look.within
    if not known_none(done):
        done = done & is_finite(measure) & (count >= rules.min_steps)  # inf is within inf
    take = gains | done
    rest = running & ~take
    least = where(gains, measure, known.least)
    least_at = where(gains, count, known.least_at)
    status = known.status
    if known_none(rest) and _all_is_progress(known, gains, measure):
        course, improved_at = Course(least, least, least), least_at
    else:
        course, progress = _progress(known, look, rules, gains, rest, unit, away)
        improved_at = where(progress, count, known.improved_at)
        if not known_none(running & ~(gains & progress)):
            grows = None
            if not rules.takes_back:  # a trial of a line search may be anywhere
                grows = grows_without_bound(measure, known.before, least, count - least_at)
                if late is not None:  # such a block may start from far less than it comes to
                    grows = grows & ~late.any(1)
            verdict = hopeless(measure, grows, count - improved_at, rules.patience)
            status = where(running, verdict, status)
    found = Verdicts(
        status if known_none(done) else where(done, CONVERGED, status),
        where(running, count, known.steps),
        where(take, look.residual, known.residual),
        where(take, look.tolerance, known.tolerance),
        (look.residual, look.tolerance),
        least,
        measure,
        course,
        least_at,
        improved_at,
        where(running, rest, known.behind),
        known.coupled,
    )
    return found, take


def _run_again(known: Verdicts, rows: Array) -> Verdicts:
    """Return the verdicts, where these rows, which had converged, run again."""
    status = where(rows, MAX_STEPS, known.status)
    known = known._replace(status=status, coupled=known.coupled | rows.any())
    return _forget_best(known, rows)


def _forget_best(known: Verdicts, rows: Array) -> Verdicts:
    """Return the verdicts, where the iterates of these rows are ranked anew from now on."""
    low = where(rows, float("inf"), known.course.low)
    return known._replace(
        least=where(rows, float("inf"), known.least), course=known.course._replace(low=low)
    )


def _all_is_progress(known: Verdicts, gains: Array, measure: Array) -> bool:
    """Return whether numpy knows that every better iterate, this one too, was progress.

    One number then is all there is to remember of each row.
    """
    if known.improved_at is not known.least_at or known.course.peak is not known.least:
        return False
    return known_none(gains & ~is_lower(measure, known.least))


def _progress(
    known: Verdicts,
    look: Look,
    rules: Rules,
    gains: Array,
    rest: Array,
    unit: Array,
    away: Callable[[], Array],
) -> tuple[Course, Array]:
    """Return the course with this iterate, and the rows that have made progress.

    The iterate is the best one of the rows that gain; the rest are the others that still run.
    """
    distance = None
    if rules.takes_back:  # trials of a line search say nothing
        rest = zeros_like(rest)
    elif not known_none(rest):
        rest = rest & (look.measure > ROUNDING * rules.eps * in_units(look.sizes, unit))
        distance = in_units(away(), unit)
    return advance(known.course, look.measure, gains, rest, distance)
