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

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.linalg.arrays import choose_rows
from deqlab.linalg.norms import block_norms
from deqlab.linalg.rates import SPAN, recent_rate
from deqlab.solution import Solution, Status
from deqlab.solvers.loop.compaction import Ledger
from deqlab.solvers.loop.convergence import Monitor

SMALLEST = 0.05
"""A tolerance is tightened by no more than this at once: estimates far out are poor."""


class ErrorControl:
    """Estimates errors in one solve, and reopens rows whose error is too large."""

    def __init__(self, accuracy: float, batch: int) -> None:
        self.accuracy = accuracy
        # Of the whole batch.
        self.error = np.full(batch, np.nan)  # relative
        self.met = np.full(batch, np.nan)  # the tolerance that a row met first
        self.growth = np.zeros(batch)  # 1 / (1 - rho); 0 for rows that have not converged
        self.ahead: Tensor | None = None  # the next step

    def review(
        self,
        monitor: Monitor,
        ledger: Ledger,
        z: Float[Tensor, "B D"],
        z_next: Float[Tensor, "B D"],
    ) -> None:
        """Estimate the error of the rows that have just converged; reopen some.

        In a state of several blocks the largest relative error counts.
        """
        with np.errstate(all="ignore"):
            step = block_norms(z_next.detach() - z.detach(), monitor.blocks)
            sizes = block_norms(z_next, monitor.blocks)
            # f(z) is only known to its rounding, which the solution amplifies as it does g.
            g, rounding = monitor.residuals, torch.finfo(z.dtype).eps * sizes
            amplified = np.where(g > 0, step / g, 1.0) * (g + rounding)
            growth = 1 / (1 - self._rate(ledger))
            error = amplified * growth[:, None]
            relative = np.where(error > 0, error / sizes, 0.0)
        worst, fresh = relative.max(axis=1, initial=0.0), monitor.fresh
        rows = np.flatnonzero(fresh) if ledger.rows is None else ledger.rows[fresh]
        self.error[rows] = worst[fresh]
        self.met[rows] = np.fmax(self.met[rows], monitor.tolerance[fresh])
        self.growth[rows] = growth[fresh]
        self._keep(z_next, fresh, rows, ledger)
        # A little less than what is missing, so that rounding does not ask for a second time.
        factor = np.maximum(0.9 * self.accuracy / np.maximum(worst, self.accuracy), SMALLEST)
        monitor.reopen(fresh & (worst > self.accuracy), factor)

    def forget(self, fresh: np.ndarray, ledger: Ledger) -> None:
        """Take back what is known of rows whose verdict did not hold; a mask, or nothing."""
        rows = np.flatnonzero(fresh) if ledger.rows is None else ledger.rows[np.flatnonzero(fresh)]
        self.error[rows] = self.met[rows] = np.nan
        self.growth[rows] = 0.0

    def _keep(
        self, z_next: Float[Tensor, "B D"], fresh: np.ndarray, rows: np.ndarray, ledger: Ledger
    ) -> None:
        """Remember the next step of the fresh rows; `rows` are their places in the whole batch."""
        z_next = z_next.detach()
        if self.ahead is None:
            self.ahead = z_next.new_zeros(len(self.error), z_next.shape[1])
        if ledger.rows is None:
            self.ahead = choose_rows(fresh, z_next, self.ahead)
        else:
            index = torch.from_numpy(rows).to(z_next.device)
            some = z_next[torch.from_numpy(np.flatnonzero(fresh)).to(z_next.device)]
            self.ahead = self.ahead.index_copy(0, index, some)

    def _correction(self, value: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        if self.ahead is None:
            return torch.zeros_like(value)
        growth = torch.from_numpy(self.growth).to(value)[:, None]
        return torch.where(growth > 0, growth * (self.ahead - value.detach()), 0.0)

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

    def _rate(self, ledger: Ledger) -> np.ndarray:
        return recent_rate(ledger.recent_measures(1 + SPAN))
