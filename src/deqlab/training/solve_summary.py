"""What the solves of a layer in one step of training tell, in a few numbers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deqlab.solution import Solution


@dataclass(frozen=True, kw_only=True)
class SolveSummary:
    """What the solves of one layer in one step tell.

    Attributes:
        converged: The share of samples at their equilibrium, of the forward solves.
        adjoint_converged: The same of the adjoint solves; 1 where there were none.
        excess: The 90 % quantile of the residuals in units of their tolerances; inf for samples
            that are not finite.
        excess_max: The largest of them.
        rate: The median factor by which residuals fell in a step; nan if no solve has a trace.
        evaluations: Calls of f.
        products: Products with the Jacobian of f, forward and backward.
        gradient_error: The median estimated relative error of the gradient; None where no
            gradient was asked for an accuracy.
    """

    converged: float
    adjoint_converged: float
    excess: float
    excess_max: float
    rate: float
    evaluations: int
    products: int
    gradient_error: float | None

    @classmethod
    def of(cls, solves: list[Solution[None]]) -> "SolveSummary":
        """Return what these solves tell."""
        adjoints = [adjoint for solve in solves for adjoint in solve.adjoint]
        excess = torch.cat([_excess(solve) for solve in solves])
        errors = [solve.gradient_error for solve in solves]
        known = [error.double() for error in errors if error is not None]
        return cls(
            converged=_share(solves),
            adjoint_converged=_share(adjoints),
            # Not between two values: one may be inf.
            excess=excess.quantile(0.9, interpolation="higher").item(),
            excess_max=excess.max().item(),
            rate=torch.cat([solve.rate.double() for solve in solves]).nanmedian().item(),
            evaluations=sum(solve.evaluations for solve in solves),
            # A linear method counts products; a solver of fixed points evaluates a map of one.
            products=sum(s.products for s in solves)
            + sum(adjoint.products + adjoint.evaluations for adjoint in adjoints),
            gradient_error=torch.cat(known).nanmedian().item() if known else None,
        )


def _excess(solve: Solution[Any]) -> Tensor:
    """Return the residuals in units of their tolerances; 0 where both are."""
    excess = (solve.residual / solve.tolerance).double().nan_to_num(nan=torch.inf, posinf=torch.inf)
    return torch.where(solve.residual == 0, 0.0, excess)


def _share(solves: list[Solution[Any]]) -> float:
    if not solves:
        return 1.0
    return torch.cat([solve.converged for solve in solves]).double().mean().item()
