"""v from its equation v = J'v + u, and the verdict on it."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map
from typing_extensions import override

from deqlab.failures import report_failure
from deqlab.gradients.adjoint import Adjoint, LinearMethod, solve_adjoint, verified
from deqlab.gradients.base import Problem
from deqlab.gradients.coupling import has_coupled_rows, report_coupled_gradient
from deqlab.gradients.linear_methods import GMRES
from deqlab.gradients.node import AdjointMethod
from deqlab.linalg.products import Product
from deqlab.maps.matrix_map import Bound
from deqlab.solution import Solution, Status
from deqlab.solvers.base import Solver
from deqlab.solvers.split import AdjointMap, parts
from deqlab.solvers.splitting import SplittingMethod


class ExactAdjoint(AdjointMethod):
    """Solves v = J'v + u row by row, and holds each row to its residual.

    Args:
        problem: The forward problem.
        solution: Its solution, whose `adjoint` gets the verdicts.
        method: How the equation is solved.
        rtol: The tolerance relative to |u|, for linear methods that have none of their own.
        by_error: Whether it is meant for the estimated error of v.
        warm_start: The v of the same samples from before, for linear methods; None for none.
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
        warm_start: Float[Tensor, "B D"] | None = None,
    ) -> None:
        self.method, self.rtol, self.by_error = method, rtol, by_error
        self.warm_start = warm_start
        self.blocks, self.on_failure = problem.blocks, problem.on_failure
        self.asked_by, self.what = problem.what, problem.adjoint
        # What autocast computes f in.
        self.lowered: torch.dtype | None = getattr(problem.f, "lowered", None)
        self.eps = max(
            torch.finfo(dtype).eps for dtype in (problem.z0.dtype, self.lowered) if dtype
        )
        self.results = solution.adjoint
        self.effort = solution.evaluations + solution.products
        # None for all, where that is known without asking a device.
        needed = solution.converged
        self.needed = None if needed.is_cpu and bool(needed.all()) else needed
        self.equation: Adjoint | None = None  # the one that was solved last
        self.split_at: Callable[..., AdjointMap] | None = None
        if isinstance(method, SplittingMethod):
            # Detached: what a node holds must not hold the tape that it stands on.
            args = tree_map(lambda a: a.detach() if isinstance(a, Tensor) else a, problem.args)
            bound, z_star = Bound(problem.f, args), solution.matrix.detach()
            parts(bound, f"Implicit(solver={type(method).__name__}())", z_star.dtype)
            self.split_at = partial(AdjointMap, bound, z_star)

    @override
    def solve(self, product: Product, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        needed = self.needed
        nobody_waits = needed is not None and needed.is_cpu and not bool(needed.any())
        start = None if nobody_waits else self.warm_start  # which takes a product
        return self.solve_from(start, product, u, self.rtol).matrix

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
            needed=self.needed,
            split=None if self.split_at is None else self.split_at(u, self.needed),
        )
        if isinstance(self.method, LinearMethod):
            equation = equation.balanced()
        result = solve_adjoint(self.method, equation, rtol)
        self.results.append(result)
        self.equation = replace(equation, image=None)  # which is not needed any more
        return result

    @override
    def of_adjoint(self) -> "ExactAdjoint":
        """Return the method for the adjoint of the adjoint equation, which has J in place of J'."""
        if self.split_at is None and self.warm_start is None:
            return self
        other = copy(self)
        other.warm_start = None
        if self.split_at is not None:
            other.method, other.split_at = GMRES(), None
        return other

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
        return rows if self.needed is None else rows & self.needed
