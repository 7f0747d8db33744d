"""v from its equation v = J'v + u, and the verdict on it."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.failures import report_failure
from deqlab.gradients.adjoint import Adjoint, LinearMethod, solve_adjoint, verified
from deqlab.gradients.base import Problem
from deqlab.gradients.coupling import has_coupled_rows, report_coupled_gradient
from deqlab.gradients.node import AdjointMethod
from deqlab.linalg.products import Product
from deqlab.solution import Solution, Status
from deqlab.solvers.base import Solver


class ExactAdjoint(AdjointMethod):
    """Solves v = J'v + u row by row, and holds each row to its residual.

    Args:
        problem: The forward problem.
        solution: Its solution, whose `adjoint` gets the verdicts.
        method: How the equation is solved.
        rtol: The tolerance relative to |u|, for linear methods that have none of their own.
        by_error: Whether it is meant for the estimated error of v.
    """

    exact: ClassVar[bool] = True

    def __init__(
        self,
        problem: Problem,
        solution: Solution,
        method: Solver[Any] | LinearMethod,
        rtol: float,
        *,
        by_error: bool = False,
    ) -> None:
        self.method, self.rtol, self.by_error = method, rtol, by_error
        self.blocks, self.on_failure = problem.blocks, problem.on_failure
        self.asked_by, self.what = problem.what, problem.adjoint
        # What autocast computes f in.
        self.lowered: torch.dtype | None = getattr(problem.f, "lowered", None)
        self.eps = max(
            torch.finfo(dtype).eps for dtype in (problem.z0.dtype, self.lowered) if dtype
        )
        self.results = solution.adjoint
        self.effort = solution.evaluations + solution.products
        self.needed: np.ndarray = solution.converged.cpu().numpy()
        self.equation: Adjoint | None = None  # the one that was solved last

    @override
    def solve(self, product: Product, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return self.solve_from(None, product, u, self.rtol).matrix

    def solve_from(
        self, start: Tensor | None, product: Product, u: Tensor, rtol: float
    ) -> Solution:
        """Return v with its verdicts, starting from a v that is known."""
        equation = Adjoint(
            product=product,
            u=u,
            blocks=self.blocks,
            by_error=self.by_error,
            start=start,
            effort=self.effort,
            needed=None if self.needed.all() else self.needed,
        )
        if isinstance(self.method, LinearMethod):
            equation = equation.balanced()
        result = solve_adjoint(self.method, equation, rtol)
        self.results.append(result)
        self.equation = equation
        return result

    @override
    def check(self, product: Product, v: Tensor, residual: Float[Tensor, "B D"]) -> None:
        assert self.equation is not None
        result = verified(self.results[-1], self.equation, residual, self.eps)
        self.results[-1], self.equation = result, None
        self.report(result, product)

    def report(self, result: Solution, product: Product) -> None:
        """Raise, warn or stay silent if a row that is waited for has failed.

        Raises:
            ConvergenceError: One has, and `on_failure` is "raise".
        """
        failed = self.waited_for(~result.converged)
        if self.on_failure == "ignore" or not bool(failed.any()):
            return
        if has_coupled_rows(product, result.matrix):
            report_coupled_gradient(self.asked_by, on_failure=self.on_failure)
            return
        status = torch.where(failed, result.status, int(Status.CONVERGED))
        report_failure(
            replace(result, status=status),
            what=self.what,
            on_failure=self.on_failure,
            lowered=self.lowered,
        )

    def waited_for(self, rows: Tensor) -> Tensor:
        """Return those of the rows whose forward solve has converged."""
        return rows & torch.from_numpy(self.needed).to(rows.device)
