"""What is progress of a row that has not converged, and what is growth without bound.

STAGNATED is a row that has made no progress for `patience` steps. Progress is

- a residual that falls below the least one since the last progress, or since its largest;
- an iterate that is farther from the best one, by a tenth, than any since that was found.

Of residuals below the rounding of f(z) only the least is progress, as of trial iterates that a line
search takes back.

A row may so grow, travel or wait as long as it likes, if it gets anywhere: an unstable start, a
spiral that contracts only in the end, a wave that runs through the state. Cycles, chaos and
rounding stay in a bounded set, where both end soon; so does a drift of constant speed, after about
ten times `patience` steps.

DIVERGED is a row whose residual has grown by 1e29, over many steps, and grows on. No finite growth
proves that a map has no bound: tanh(2 z + c) grows to 1 from any c. This one leaves room for all
that starts from the rounding of float64; what is steeper than that and has no bound overflows soon.
A row with a block that started at rest is never DIVERGED: the first image of such a block, which is
its scale, may be as small as exp(-100).

All is measured in units of the scale of each block. The functions take numpy arrays and tensors.
"""

from typing import NamedTuple

from deqlab.linalg.arrays import Array, is_finite, where
from deqlab.solution import Status

CONVERGED, MAX_STEPS, STAGNATED, DIVERGED, NONFINITE = map(int, Status)
"""As numbers: numpy takes five times longer to compare with a member of an enumeration."""

FALL = 1.0001
"""A residual that falls by less says nothing new: in a cycle it does so by rounding."""

GROWTH = 1.1
"""Farther is what is this many times as far."""

DIVERGENCE = 1e29
"""Growth of a residual that no map with a bound is expected to show: with 2 z + 1 it takes 97
steps, just less than the default of `max_steps`."""

SUSTAINED = 10
"""Steps that such a growth takes at least. In fewer it is a jump: an extrapolation gone wrong, or a
block that wakes from a rounding error."""


class Course(NamedTuple):
    """What the progress of each row is measured by."""

    low: Array  # the least residual since the last progress, or since the largest residual
    peak: Array  # the largest residual since the best one
    farthest: Array  # the largest distance from the best iterate since; at first, its residual


def advance(
    course: Course,
    measure: Array,
    gains: Array,
    rest: Array,
    distance: Array | None,
) -> tuple[Course, Array]:
    """Return the course with this iterate, and which rows have made progress.

    Args:
        course: The course up to the iterate before.
        measure: The residual.
        gains: Rows for which this is the best iterate.
        rest: The other rows whose progress counts.
        distance: How far the iterate is from the best one; None if `rest` is empty.
    """
    lower = (gains | rest) & is_lower(measure, course.low)
    anew, higher = gains & lower, rest & (measure > course.peak)
    farthest, progress = where(anew, measure, course.farthest), lower
    if distance is not None:
        farther = rest & (distance > GROWTH * farthest)
        farthest, progress = where(farther, distance, farthest), lower | farther
    advanced = Course(
        low=where(progress | higher, measure, course.low),
        peak=where(anew | higher, measure, course.peak),
        farthest=farthest,
    )
    return advanced, progress


def is_lower(measure: Array, low: Array) -> Array:
    """Return which rows have a residual that is lower by more than rounding."""
    return FALL * measure < low


def grows_without_bound(measure: Array, before: Array, least: Array, steps: Array) -> Array:
    """Return which rows have diverged.

    Args:
        measure: The residual.
        before: That of the step before.
        least: That of the best iterate.
        steps: How many steps ago this was.
    """
    growth = measure / least
    goes_on = (measure / before) ** (2 * steps) >= growth  # at half of the mean rate or more
    return (growth > DIVERGENCE) & (steps >= SUSTAINED) & goes_on


def hopeless(measure: Array, grows: Array | None, since: Array, patience: int) -> Array:
    """Return the verdict on each row that has not converged: MAX_STEPS, or why it shall end.

    Args:
        measure: The residual.
        grows: Rows that grow without bound; None where that is no sign of divergence.
        since: How many steps ago the row made progress.
        patience: How many steps without progress end a row.
    """
    verdict = where(since >= patience, STAGNATED, MAX_STEPS)
    if grows is not None:
        verdict = where(grows, DIVERGED, verdict)
    return where(is_finite(measure), verdict, NONFINITE)
