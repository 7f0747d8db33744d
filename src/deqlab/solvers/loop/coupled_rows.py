"""What becomes of verdicts where f couples the rows, so that one may change with another.

A finished row is held where it is, and f is evaluated there with the others. Where f treats each
row by itself, it has the same f(z) each time. If f couples the rows, a row that has converged may
be out of its tolerance later, and runs again (`lost`); and at the end,

- the residual of a row that was held may have changed, within its tolerance or beyond: it is
  measured once more at the last iterate, where f was evaluated for all rows (`remeasured`);
- a row that failed goes back to its best iterate, where f was evaluated beside other iterates of
  the other rows: the value as a whole is measured, by one more evaluation (`is_unproven`);
- no row can have its right value while another has not: where any residual has changed, the rows
  have converged together or not at all (`withdrawn`).

The functions are pure, take numpy arrays and tensors, and look at no number of a tensor.
"""

from deqlab.linalg.arrays import Array, is_finite, known_none, where
from deqlab.solvers.loop.criterion import Look
from deqlab.solvers.loop.progress import CONVERGED, MAX_STEPS, STAGNATED
from deqlab.solvers.loop.verdicts import Verdicts

SLACK = 1e-5
"""By more than this share the residual of a row held still has changed because of other rows; by
less because a sum was taken in another precision."""


def lost(known: Verdicts, look: Look) -> Array:
    """Return the converged rows that other rows have carried out of their tolerance."""
    rows = (known.status == CONVERGED) & (look.residual != known.residual)
    if known_none(rows):  # a row by itself has the same residual to the bit
        return rows
    return rows & ~look.within & _has_changed(known, look.residual)


def is_unproven(known: Verdicts) -> Array:
    """Return whether f was never evaluated at the value as a whole.

    That is so if rows go back to an earlier iterate, and others do not or go back to another one.
    """
    apart = (known.status == CONVERGED).any() | (known.least_at != known.least_at[:1]).any()
    return (known.behind & is_finite(known.residual)).any() & apart


def remeasured(known: Verdicts, residual: Array, tolerance: Array, rows: Array) -> Verdicts:
    """Return the verdicts after these rows were measured once more, where they are held.

    If one has another residual than before, rows depend on each other, and all get what was found.
    """
    changed = (rows & _has_changed(known, residual)).any()
    return known._replace(
        residual=where(rows & changed, residual, known.residual),
        tolerance=where(rows & changed, tolerance, known.tolerance),
        coupled=known.coupled | changed,
    )


def withdrawn(known: Verdicts, out_of_steps: Array | bool) -> Verdicts:
    """Return the verdicts at the end, where rows that depend on failed ones have not converged."""
    converged = known.status == CONVERGED
    untrue = converged & known.coupled & ~converged.all()
    instead = where(untrue & out_of_steps, MAX_STEPS, STAGNATED)
    return known._replace(status=where(untrue, instead, known.status))


def _has_changed(known: Verdicts, residual: Array) -> Array:
    """Return which rows have another residual at their point than when they were judged."""
    return ~(abs(residual - known.residual) <= SLACK * known.residual)
