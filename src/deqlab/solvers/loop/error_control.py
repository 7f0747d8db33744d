"""Hold each row to an estimate of its error, not only to a residual.

The next step s of a method is its own estimate of the error z* - z; a quasi-Newton method knows
the stiff directions, which a residual does not show. What the step leaves is estimated from the
rate rho at which the residuals g fell lately:

    |z* - z| ~ |s| / (1 - rho),    rho the factor per step over the last few steps

For Picard iteration on a linear map this is the classical a posteriori bound (Banach 1922); for
other methods it is derived here, and measured: within a factor of about two on the workloads of
`benchmarks`. A row that is within its tolerance but not within its error goes on, with a tolerance
as much smaller as the error is too large.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.linalg.arrays import (
    Array,
    as_tensor,
    choose_rows,
    filled,
    known_none,
    larger,
    row_max,
    same_kind,
    where,
)
from deqlab.linalg.norms import step_norms
from deqlab.linalg.rates import SPAN, recent_rate
from deqlab.solution import Solution, Status
from deqlab.solvers.loop.compaction import Batch
from deqlab.solvers.loop.record import Record

SMALLEST = 0.05
"""A tolerance is tightened by no more than this at once: estimates far out are poor."""


class ErrorControl:
    """Estimates errors in one solve, and says which rows shall go on.

    Args:
        accuracy: The relative error that is asked for.
        blocks: The columns of each block.
        batch: The rows that are in the loop.
        record: Their residuals so far.
    """

    def __init__(
        self, accuracy: float, blocks: Sequence[int], batch: Batch, record: Record
    ) -> None:
        self.accuracy, self.blocks, self.batch, self.record = accuracy, blocks, batch, record
        # Of the whole batch, from the first review on.
        self.error: Array  # relative
        self.met: Array  # the tolerance that a row met first
        self.growth: Array  # 1 / (1 - rho); 0 for rows that have not converged
        self.ahead: Tensor  # the next step
        self._begun = False

    def review(
        self,
        fresh: Bool[Array, " b"],
        z: Float[Tensor, "b D"],
        z_next: Float[Tensor, "b D"],
        residuals: Float[Array, "b K"],
        tolerance: Float[Array, " b"],
    ) -> tuple[Bool[Array, " b"], Float[Array, " b"]]:
        """Estimate the error of rows that have just converged.

        In a state of several blocks the largest relative error counts.

        Args:
            fresh: These rows.
            z: The iterate.
            z_next: Where the method would go from there.
            residuals: |f(z) - z| in each block.
            tolerance: What the rows were held to.

        Returns:
            The rows whose error is too large, and the share of the present residual that each row
            is to be held to.
        """
        z, z_next, batch = z.detach(), z_next.detach(), self.batch
        self._begin(z, tolerance)
        with np.errstate(all="ignore"):
            step, sizes = step_norms(z_next, z, self.blocks)
            # f(z) is only known to its rounding, which the solution amplifies as it does g.
            rounding = torch.finfo(z.dtype).eps * sizes
            amplified = where(residuals > 0, step / residuals, 1.0) * (residuals + rounding)
            measures = self.record.recent_measures(1 + SPAN, batch.rows)
            growth = 1 / (1 - recent_rate(measures))
            error = amplified * growth[:, None]
            worst = row_max(where(error > 0, error / sizes, 0.0))
        self.error = batch.put(self.error, fresh, worst)
        self.met = batch.put(self.met, fresh & ~(self._met_before() >= tolerance), tolerance)
        self.growth = batch.put(self.growth, fresh, growth)
        self._keep(z_next, fresh)
        # A little less than what is missing, so that rounding does not ask for a second time.
        share = larger(0.9 * self.accuracy / larger(worst, self.accuracy), SMALLEST)
        return fresh & (worst > self.accuracy), share

    def forget(self, rows: Bool[Array, " b"]) -> None:
        """Take back what is known of rows whose verdict did not hold."""
        if known_none(rows) or not self._begun:
            return
        nan = filled(float("nan"), rows)
        self.error = self.batch.put(self.error, rows, nan)
        self.met = self.batch.put(self.met, rows, nan)
        self.growth = self.batch.put(self.growth, rows, filled(0.0, rows))

    def closed(self, solution: Solution) -> Solution:
        """Return the solution with its errors.

        A row that met the tolerance of the solver has converged, even if it could not get as
        accurate as it was asked to.
        """
        value = solution.matrix
        if not self._begun:  # no row has met anything
            error = torch.full_like(solution.residual, torch.nan)
            return replace(solution, error=error, correction=torch.zeros_like(value))
        met, error = (as_tensor(each).to(value.device) for each in (self.met, self.error))
        growth = as_tensor(self.growth).to(value)[:, None]
        kept = ~solution.converged & met.isfinite()
        return replace(
            solution,
            error=error,
            correction=torch.where(growth > 0, growth * (self.ahead - value.detach()), 0.0),
            status=torch.where(kept, int(Status.CONVERGED), solution.status),
            tolerance=torch.where(kept, met, solution.tolerance),
        )

    def _begin(self, z: Float[Tensor, "b D"], like: Array) -> None:
        if not self._begun:
            rows = like if self.batch.rows is None else same_kind(np.empty(self.batch.size), like)
            self.error, self.met = filled(float("nan"), rows), filled(float("nan"), rows)
            self.growth = filled(0.0, rows)
            self.ahead = z.new_zeros(self.batch.size, z.shape[1])
            self._begun = True

    def _met_before(self) -> Float[Array, " b"]:
        if self.batch.rows is None:
            return self.met
        return self.met[same_kind(self.batch.rows, self.met)]

    def _keep(self, z_next: Float[Tensor, "b D"], fresh: Bool[Array, " b"]) -> None:
        """Remember the next step of these rows."""
        if self.batch.rows is None:
            self.ahead = choose_rows(fresh, z_next, self.ahead)
        else:
            index = self.batch.index(z_next.device)
            some = choose_rows(fresh, z_next, self.ahead[index])
            self.ahead = self.ahead.index_copy(0, index, some)
