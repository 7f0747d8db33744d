"""What the solves of a layer in one step of training tell, in a few numbers."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from deqlab.solution import Solution

EXCESS_QUANTILE = 0.9

Numbers: TypeAlias = Float64[np.ndarray, " B"]


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
        # In numpy, where each of these few numbers costs a tenth of what it does in torch.
        rows = np.concatenate([_numbers(*_of_rows(solve)) for solve in solves], axis=1)
        excess = _excess(rows[1], rows[2])
        held = [_numbers(adjoint.converged)[0] for adjoint in adjoints]
        errors = [
            _numbers(error)[0] for solve in solves if (error := solve.gradient_error) is not None
        ]
        return cls(
            converged=float(rows[0].mean()),
            adjoint_converged=float(np.concatenate(held).mean()) if held else 1.0,
            excess=_ranked(excess, math.ceil(EXCESS_QUANTILE * (len(excess) - 1))),
            excess_max=float(excess.max()),
            rate=_median(rows[3]),
            evaluations=sum(solve.evaluations for solve in solves),
            # A linear method counts products; a solver of fixed points evaluates a map of one.
            products=sum(s.products for s in solves)
            + sum(adjoint.products + adjoint.evaluations for adjoint in adjoints),
            gradient_error=_median(np.concatenate(errors)) if errors else None,
        )


def _of_rows(solve: Solution[Any]) -> tuple[Tensor, ...]:
    return solve.converged, solve.residual, solve.tolerance, solve.rate


def _numbers(*values: Tensor) -> Float64[np.ndarray, "k B"]:
    """Return numbers of rows on the host, (k, B), by one wait for a device."""
    if values[0].is_cpu:
        return np.stack([value.detach().double().numpy() for value in values])
    return np.asarray(torch.stack([value.detach().double() for value in values]).cpu().numpy())


def _excess(residual: Numbers, tolerance: Numbers) -> Numbers:
    """Return the residuals in units of their tolerances; 0 where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        excess: Numbers = residual / tolerance
    excess[np.isnan(excess)] = np.inf
    excess[residual == 0] = 0.0
    return excess


def _ranked(values: Numbers, rank: int) -> float:
    """Return the value that so many are below; not between two values, for one may be inf."""
    return float(np.partition(values, rank)[rank])


def _median(values: Numbers) -> float:
    """Return the lower median of those that are not nan; nan if there are none."""
    known = values[~np.isnan(values)]
    return _ranked(known, (len(known) - 1) // 2) if len(known) else math.nan
