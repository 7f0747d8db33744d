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

from deqlab.linalg.arrays import choose_rows
from deqlab.linalg.norms import block_norms
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
        # Of the whole batch.
        self.error = np.full(batch.size, np.nan)  # relative
        self.met = np.full(batch.size, np.nan)  # the tolerance that a row met first
        self.growth = np.zeros(batch.size)  # 1 / (1 - rho); 0 for rows that have not converged
        self.ahead: Tensor | None = None  # the next step

    def review(
        self,
        fresh: Bool[np.ndarray, " b"],
        z: Float[Tensor, "b D"],
        z_next: Float[Tensor, "b D"],
        residuals: Float[np.ndarray, "b K"],
        tolerance: Float[np.ndarray, " b"],
    ) -> tuple[Bool[np.ndarray, " b"], Float[np.ndarray, " b"]]:
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
        with np.errstate(all="ignore"):
            step = block_norms(z_next.detach() - z.detach(), self.blocks)
            sizes = block_norms(z_next, self.blocks)
            # f(z) is only known to its rounding, which the solution amplifies as it does g.
            rounding = torch.finfo(z.dtype).eps * sizes
            amplified = np.where(residuals > 0, step / residuals, 1.0) * (residuals + rounding)
            measures = self.record.recent_measures(1 + SPAN, self.batch.rows)
            growth = 1 / (1 - recent_rate(measures))
            error = amplified * growth[:, None]
            relative = np.where(error > 0, error / sizes, 0.0)
        worst, places = relative.max(axis=1, initial=0.0), self.batch.places(fresh)
        self.error[places] = worst[fresh]
        self.met[places] = np.fmax(self.met[places], tolerance[fresh])
        self.growth[places] = growth[fresh]
        self._keep(z_next, fresh)
        # A little less than what is missing, so that rounding does not ask for a second time.
        share = np.maximum(0.9 * self.accuracy / np.maximum(worst, self.accuracy), SMALLEST)
        return fresh & (worst > self.accuracy), share

    def forget(self, rows: Bool[np.ndarray, " b"]) -> None:
        """Take back what is known of rows whose verdict did not hold."""
        places = self.batch.places(rows)
        self.error[places] = self.met[places] = np.nan
        self.growth[places] = 0.0

    def closed(self, solution: Solution) -> Solution:
        """Return the solution with its errors.

        A row that met the tolerance of the solver has converged, even if it could not get as
        accurate as it was asked to.
        """
        met = torch.from_numpy(self.met).to(solution.residual.device)
        kept = ~solution.converged & met.isfinite()
        return replace(
            solution,
            error=torch.from_numpy(self.error).to(met.device),
            correction=self._correction(solution.matrix),
            status=torch.where(kept, int(Status.CONVERGED), solution.status),
            tolerance=torch.where(kept, met, solution.tolerance),
        )

    def _keep(self, z_next: Float[Tensor, "b D"], fresh: Bool[np.ndarray, " b"]) -> None:
        """Remember the next step of these rows."""
        z_next = z_next.detach()
        if self.ahead is None:
            self.ahead = z_next.new_zeros(self.batch.size, z_next.shape[1])
        if self.batch.rows is None:
            self.ahead = choose_rows(fresh, z_next, self.ahead)
        else:
            index = torch.from_numpy(self.batch.places(fresh)).to(z_next.device)
            some = z_next[torch.from_numpy(np.flatnonzero(fresh)).to(z_next.device)]
            self.ahead = self.ahead.index_copy(0, index, some)

    def _correction(self, value: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        if self.ahead is None:
            return torch.zeros_like(value)
        growth = torch.from_numpy(self.growth).to(value)[:, None]
        return torch.where(growth > 0, growth * (self.ahead - value.detach()), 0.0)
