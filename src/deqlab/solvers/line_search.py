"""A line search for Newton's method that takes no evaluation of its own.

From a good point z with |g(z)| known, the trial z + t d is good as well if (Armijo 1966)

    |g(z + t d)| <= (1 - c t) |g(z)|.

The loop evaluates f once an iteration, so that the verdict on a trial falls in the next one: a
row whose trial was bad goes back to its good point, and on with a smaller t.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from deqlab.linalg.arrays import (
    Array,
    as_tensor,
    choose_rows,
    filled,
    is_finite,
    known_none,
    larger,
    rows_of,
    smaller,
    where,
)

DECREASE = 1e-4
"""c: so little that any step in the right direction passes."""

SLACK = 4.0
"""In units of the root of eps: a residual may rise by that share. A step that just crosses a kink
of f must end a little beyond it, and may gain less than that costs."""

TRIALS = 12
"""Bad trials in a row, after which d is no direction to go: halved as often, t is 2e-4."""


@dataclass(frozen=True)
class Trial:
    """What became of the last step of each row; exactly one of good, bad and lost is true.

    Attributes:
        size: The norm |g| where the row is.
        good: The row goes on from there by a full step.
        bad: The row goes back to its last good point, and on by a smaller t.
        lost: The row starts anew from f(z), for no t will do.
    """

    size: Float[Array, " B"]
    good: Bool[Array, " B"]
    bad: Bool[Array, " B"]
    lost: Bool[Array, " B"]


@dataclass
class LineSearch:
    """The line that each row is on.

    Attributes:
        z: The last good point.
        d: The full step from it.
        size: The norm |g| there; inf where any point is good.
        t: The share of d in the last trial.
        trials: The number of bad trials so far.
    """

    z: Float[Tensor, "B D"]
    d: Float[Tensor, "B D"]
    size: Float[Array, " B"]
    t: Float[Array, " B"]
    trials: Int[Array, " B"]

    @classmethod
    def start(cls, z: Float[Tensor, "B D"]) -> "LineSearch":
        """Return the state of rows that have not moved yet."""
        rows = rows_of(z)
        return cls(z, z, filled(float("inf"), rows), filled(1.0, rows), filled(0, rows))

    def judge(self, size: Float[Array, " B"]) -> Trial:
        """Return where each row goes from a trial with this |g|."""
        slack = SLACK * torch.finfo(self.z.dtype).eps ** 0.5
        with np.errstate(invalid="ignore"):  # 0 * inf, where t has come to 0
            good = size <= (1 - DECREASE * self.t + slack) * self.size
        lost = ~good & (self.trials + 1 >= TRIALS)
        return Trial(size, good, ~good & ~lost, lost)

    def shorter(self, size: Float[Array, " B"]) -> Float[Array, " B"]:
        """Return where a parabola through what is known of |g|^2 on the line is least.

        Its value and slope at the good point, -2 |g|^2, and its value at the trial; within 0.1
        and 0.5 of the last t.
        """
        with np.errstate(all="ignore"):
            growth = (size / self.size) ** 2 - 1
            least = self.t / larger(growth + 2 * self.t, self.t)
        share = smaller(larger(where(is_finite(least), least, 0.0), 0.1), 0.5)
        return self.t * share

    def follow(
        self,
        trial: Trial,
        z: Float[Tensor, "B D"],
        fz: Float[Tensor, "B D"],
        d: Float[Tensor, "B D"],
        t: Float[Array, " B"],
    ) -> tuple[Float[Tensor, "B D"], "LineSearch"]:
        """Return the next trial of every row, and its state there.

        Args:
            trial: What `judge` says of z.
            z: Where the rows are.
            fz: f there.
            d: The full step from there, for good rows.
            t: The next t, for bad rows.
        """
        good, bad, lost = trial.good, trial.bad, trial.lost
        z_next = z + d
        if not known_none(bad):
            z_next = choose_rows(bad, self.z + as_tensor(t).to(z)[:, None] * self.d, z_next)
        if not known_none(lost):
            z_next = choose_rows(lost, fz, z_next)
        return z_next, LineSearch(
            z=choose_rows(good, z, self.z),
            d=choose_rows(good, d, self.d),
            size=where(good, trial.size, where(lost, float("inf"), self.size)),
            t=where(bad, t, 1.0),
            trials=where(bad, self.trials + 1, 0),
        )
