"""What a row is held to: the criterion of convergence, block by block.

A row has converged at z when, in every block of its columns,

    |f(z) - z| <= atol + rtol min(max(|f(z)|, eps s), 10 s),    s = max(|z0|, |f(z0)|).

The scale s of a block is fixed at the start: relative to |f(z)| alone, a map that runs off to
infinity (z + 1, say) would converge. With eps of the dtype of the state, what is below the rounding
of where a block started is read as zero, so that an iteration towards zero ends. No number here is
absolute unless the caller sets atol: the units of a block change nothing.

A block at rest, zero at z0 and at f(z0), moves when others feed it. Its s is then its first |f(z)|
that is not zero, or |z| if a method moves it where f(z) is zero, and the largest |f(z) - z| that it
has shown takes the place of s in 10 s, for it may start from far less than it comes to. Until it
moves, only f(z) = z is within its tolerance.

Beyond 10 s a residual counts as no less than the rounding of f(z): at 1e16, z + 1 is z. Only if
f(z) = z to the bit, and steps far above that rounding led there, does the row stand still.

The functions take numpy arrays and tensors, and look at no number: the eager loop calls them with
the first, the compiled loop with the second.
"""

from dataclasses import dataclass
from typing import NamedTuple

from deqlab.linalg.arrays import Array, filled_like, larger, smaller, where
from deqlab.linalg.scaled_norms import norm_of

SCALE_CAP = 10.0
"""How far |f(z)| may outgrow the start and still loosen the tolerance."""

STANDING = 16.0
"""How far above the rounding of f(z) a step must have been for f(z) = z to be believed."""

ROUNDING = 4.0
"""Times eps |f(z)| below which a residual may be rounding, of a few operations."""

LEAST_UNIT = 2.0**-1022
"""What to divide by in place of 0: the least normal number of float64."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What rows are held to: the settings of a solver (see `Solver`), and the rounding of f."""

    rtol: float
    atol: float
    min_steps: int
    max_steps: int
    patience: int
    takes_back: bool
    eps: float  # of the dtype of the state


class Scales(NamedTuple):
    """The scale of each block of each row, (B, K)."""

    start: Array  # s: max(|z0|, |f(z0)|), or the first |f(z)| of a block that started at rest
    reach: Array  # the largest |f(z) - z| shown beyond the cap, or the start
    late: Array | None  # blocks that started at rest; None if there is known to be none


class Bounds(NamedTuple):
    """What follows from the scales for each block of each row, (B, K)."""

    cap: Array  # up to this |f(z)| loosens the tolerance
    floor: Array  # below this |f(z)| is read as zero; times rtol
    unit: Array  # what residuals are divided by to be compared across blocks
    limit: Array | None = None  # tolerances that error control asks for beside; None for none


class Look(NamedTuple):
    """One iterate of every row, measured; (B,) each but the last."""

    residual: Array  # |f(z) - z|
    tolerance: Array
    measure: Array  # what iterates are ranked by: residuals in units of each block's scale
    within: Array  # whether every block is within its tolerance
    allowed: Array  # the tolerance in units of the measure
    sizes: Array  # (B, K), |f(z)| in each block
    residuals: Array  # (B, K), |f(z) - z| in each block
    woken: Array | None = None  # rows where a block at rest moved for the first time; None for none


def scales_at_start(points: Array, images: Array) -> Scales:
    """Return the scales, given |z0| and |f(z0)| in each block."""
    start = larger(points, images)
    return Scales(start, start, start == 0)


def bounds_of(scales: Scales, rules: Rules, limit: Array | None = None) -> Bounds:
    """Return what follows from the scales."""
    start, reach, late = scales
    cap = SCALE_CAP * (start if late is None else where(late, reach, start))
    unit = start if start.shape[1] == 1 else larger(start, LEAST_UNIT)
    return Bounds(cap, rules.rtol * rules.eps * start, unit, limit)


def compare(residuals: Array, sizes: Array, bounds: Bounds, rules: Rules) -> Look:
    """Compare |f(z) - z| and |f(z)| in each block, (B, K) each, with what is allowed."""
    tolerances = larger(rules.rtol * smaller(sizes, bounds.cap), bounds.floor)
    if rules.atol:
        tolerances = rules.atol + tolerances
    if bounds.limit is not None:
        tolerances = smaller(tolerances, bounds.limit)
    within = residuals <= tolerances
    if residuals.shape[1] == 1:  # in its own units, which nothing is compared with
        residual, tolerance = residuals.ravel(), tolerances.ravel()
        return Look(residual, tolerance, residual, within.ravel(), tolerance, sizes, residuals)
    return Look(
        norm_of(residuals),
        norm_of(tolerances),
        norm_of(residuals / bounds.unit),
        within.all(1),
        norm_of(tolerances / bounds.unit),
        sizes,
        residuals,
    )


def look(
    scales: Scales, bounds: Bounds, residuals: Array, sizes: Array, rules: Rules
) -> tuple[Scales, Bounds, Look]:
    """Measure an iterate by |f(z) - z| and |f(z)| in each block, and note how far blocks have come.

    Args:
        scales: The scales before this iterate.
        bounds: What follows from them.
        residuals: |f(z) - z| in each block, (B, K), right to rounding at every scale.
        sizes: |f(z)|, likewise.
        rules: The settings of the solver.
    """
    scales, woken = _seen(scales, residuals, sizes, sizes > bounds.cap, rules.eps)
    if scales.late is not None:  # else no bound hangs on what was seen
        bounds = bounds_of(scales, rules, bounds.limit)
    # Far out, f(z) - z is mostly rounding: z + 1 is z at 1e16.
    rounding = where(sizes > bounds.cap, rules.eps / 2 * sizes, 0.0)
    stands = (residuals == 0) & (STANDING * rounding <= scales.reach)
    counted = where(stands, residuals, larger(residuals, rounding))
    # What is reported is |f(z) - z| itself.
    residual = residuals.ravel() if residuals.shape[1] == 1 else norm_of(residuals)
    _, tolerance, measure, within, allowed, *_ = compare(counted, sizes, bounds, rules)
    found = Look(residual, tolerance, measure, within, allowed, sizes, residuals, woken)
    return scales, bounds, found


def limited(bounds: Bounds, rows: Array, to: Array) -> Bounds:
    """Return the bounds where these rows are held to `to`, (B, K), as well."""
    limit = filled_like(to, float("inf")) if bounds.limit is None else bounds.limit
    return bounds._replace(limit=where(rows[:, None], to, limit))


def still_allowed(found: Look, bounds: Bounds) -> Array:
    """Return what is allowed, in units of the measure, also if rows were limited since the look."""
    if bounds.limit is None:
        return found.allowed
    return smaller(found.allowed, in_units(bounds.limit, bounds.unit))


def in_units(parts: Array, unit: Array) -> Array:
    """Return what `Look.measure` is of residuals, (B,), for other norms of each block, (B, K)."""
    return parts.ravel() if parts.shape[1] == 1 else norm_of(parts / unit)


def _seen(
    scales: Scales, residuals: Array, sizes: Array, beyond: Array, eps: float
) -> tuple[Scales, Array | None]:
    """Return the scales after an iterate, and the rows with a block that has its scale from it.

    Args:
        scales: The scales before.
        residuals: |f(z) - z| in each block.
        sizes: |f(z)|, likewise.
        beyond: Where this is beyond the cap.
        eps: The rounding of the dtype of the state.
    """
    start, reach, late = scales
    inf = float("inf")
    genuine = (residuals > eps**0.5 * sizes) & (residuals < inf)  # more than rounding
    if late is None:
        reach = where(beyond & genuine, larger(reach, residuals), reach)
        return Scales(start, reach, late), None
    reach = where((beyond | late) & genuine, larger(reach, residuals), reach)
    # Of a block that a method has moved where f(z) is zero, |f(z) - z| is its own size.
    shown = where(sizes > 0, sizes, residuals)
    woken = (start == 0) & (shown > 0) & (shown < inf)
    start = where(woken, shown, start)
    return Scales(start, larger(reach, start), late), woken.any(1)
