"""The end of a solve whose rows may depend on each other, although they were said to be samples.

The value is made of rows that ended at different iterations. Where f treats each row by itself,
each verdict is true of it. Where f couples the rows,

- the residual of a row that was held may have changed, within its tolerance or beyond;
- a row that failed goes back to its best iterate, where f was evaluated beside other iterates of
  the other rows;
- no row can have its right value while another has not.

So the held rows are measured once more at the last iterate, where f was evaluated for all rows; the
value as a whole, at the price of one evaluation, if rows go back beside others that have converged
or that go back to another iterate; and where any residual has changed, the rows have converged
together or not at all.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.solvers.loop.convergence import CONVERGED, MAX_STEPS, NONE, STAGNATED, Monitor
from deqlab.solvers.loop.criterion import Array, Look, has_changed


def settle(
    monitor: Monitor,
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    f: Callable[[Tensor], Tensor] | None,
) -> Array:
    """Make the verdicts true of the value; return the rows that have converged no more.

    Args:
        monitor: The verdicts.
        z: The last iterate.
        fz: Its image.
        f: The map, for one more evaluation where it is needed; None if the rows are known to be
            independent.
    """
    measure_held(monitor, z, fz)
    if f is not None and is_unproven(monitor):
        with torch.no_grad():
            prove(monitor, f(monitor.best))
    return withdraw(monitor)


def measure_held(monitor: Monitor, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> None:
    """Measure the converged rows once more, at the last iterate z with f(z) = fz."""
    look, held = monitor.look, monitor.status == CONVERGED
    if not np.count_nonzero(held & (look.residual != monitor.residual)):
        return  # a row by itself has the same residual to the bit
    if not (look.sure | ~held).all():
        look = _look_closely(monitor, z, fz)
    _correct(monitor, look, held)


def is_unproven(monitor: Monitor) -> bool:
    """Return whether f was never evaluated at the value as a whole.

    Rows go back to an earlier iterate, and others do not, or go back to another one.
    """
    if not len(monitor.behind) or not (monitor.behind & np.isfinite(monitor.residual)).any():
        return False  # a row without a finite residual was held at its start
    held = monitor.status == CONVERGED
    return bool(held.any() or (monitor.least_at != monitor.least_at[0]).any())


def prove(monitor: Monitor, fz: Float[Tensor, "B D"]) -> None:
    """Measure the value as a whole, given f there."""
    look = _look_closely(monitor, monitor.best, fz)
    _correct(monitor, look, np.isfinite(monitor.residual))


def withdraw(monitor: Monitor) -> Array:
    """Take back what depends on failed rows; return which rows have converged no more."""
    if not monitor.coupled:
        return NONE
    rows: Array = monitor.status == CONVERGED
    if rows.all():
        return NONE
    out_of_steps = monitor.count >= monitor.rules.max_steps
    monitor.status[rows] = MAX_STEPS if out_of_steps else STAGNATED
    return rows


def _look_closely(monitor: Monitor, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"]) -> Look:
    assert monitor.criterion is not None
    with np.errstate(all="ignore"):
        return monitor.criterion.look_closely(z, fz)[0]


def _correct(monitor: Monitor, look: Look, rows: Array) -> None:
    """Let the verdicts on these rows speak of this look, if any of them depends on others."""
    if (rows & has_changed(look.residual, monitor.residual)).any():
        monitor.residual = np.where(rows, look.residual, monitor.residual)
        monitor.tolerance = np.where(rows, look.tolerance, monitor.tolerance)
        monitor.coupled = True
