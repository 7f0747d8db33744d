"""Implicit differentiation of z* = f(z*, theta) by the implicit function theorem.

With J = df/dz at z*, u' dz*/dtheta = v' df/dtheta where v = J' v + u: the backward pass is one
linear equation a row (see `adjoint`). Memory does not grow with the number of forward steps.
Source: Bai, Kolter & Koltun (2019), "Deep Equilibrium Models", Theorem 1.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from deqlab.errors import report_error, report_failure
from deqlab.gradients.adjoint import GMRES, Adjoint, LinearMethod, looked_at, solve_adjoint
from deqlab.gradients.attach import attached, solved
from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.node import SecondLook
from deqlab.operators import Product
from deqlab.solution import Solution
from deqlab.solvers import Solver

SHARE = 0.7
"""Of the accuracy, for the value and for the adjoint: errors of two sources add in squares, and a
little is left for what the error of the value does to the adjoint."""

ADJOINT = "adjoint of fixed_point"


@dataclass(frozen=True, kw_only=True)
class Implicit(Gradient):
    """The exact gradient: the adjoint system is solved, sample by sample.

    A sample whose adjoint misses its tolerance warns or raises in the backward pass, as
    `on_failure` of the forward call says; `Solution.adjoint` keeps its verdicts. A sample where f
    was not finite has no gradient, and passes zero.

    Attributes:
        solver: The method for v = J'v + u: `GMRES()`, `Dense()`, or any solver, which starts at u;
            keep its atol 0 then, for the scale of a loss is arbitrary.
        accuracy: The relative error that the gradient may have, in (0, 1). The tolerances of both
            solves follow from it, sample by sample: the forward solver's own rtol, and that of
            GMRES, are then not used. The gradient leaves f where z* is estimated to be, by one
            more evaluation there: it tells whether the slope of f changes within the error of the
            value, as it does at the kinks of relu.
            `Solution.gradient_error` has the estimate, and a sample that misses the accuracy warns
            or raises. None: the tolerances are as they are set.
    """

    solver: Solver[Any] | LinearMethod = GMRES()
    accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.accuracy is None:
            return
        if not 0 < self.accuracy < 1:
            raise ValueError(f"accuracy must be in (0, 1), got {self.accuracy}")
        if not isinstance(self.solver, LinearMethod):
            raise ValueError(
                f"accuracy needs a linear method for the adjoint, GMRES() or Dense(), got "
                f"{type(self.solver).__name__}: only these estimate their error"
            )

    @override
    def solve(self, problem: Problem) -> Solution:
        if self.accuracy is not None:
            return self._solve_by_error(problem, self.accuracy)
        solution, _, tape = solved(problem)
        # A purely absolute forward tolerance says nothing about the adjoint, whose scale is
        # another: it is then solved to near rounding.
        rtol = problem.solver.rtol or 100 * torch.finfo(problem.z0.dtype).eps

        def solve(product: Product, u: Tensor) -> Tensor:
            equation = Adjoint(product=product, u=u, blocks=problem.blocks)
            if isinstance(self.solver, LinearMethod):
                equation = equation.balanced()
            result = solve_adjoint(self.solver, equation, rtol)
            solution.adjoint.append(result)
            report_failure(result, what=ADJOINT, on_failure=problem.on_failure)
            return result.matrix

        return attached(problem, solution, tape, solve)

    def _solve_by_error(self, problem: Problem, accuracy: float) -> Solution:
        share = SHARE * accuracy
        problem = replace(problem, solver=replace(problem.solver, rtol=accuracy))
        solution, _, tape = solved(problem, accuracy=share)
        report_error(solution, share, what="fixed_point", on_failure=problem.on_failure)
        equations: list[Adjoint] = []

        def solve(product: Product, u: Tensor) -> Tensor:
            equation = Adjoint(product=product, u=u, blocks=problem.blocks, by_error=True)
            equations[:] = [equation.balanced()]
            result = solve_adjoint(self.solver, equations[0], share)
            solution.adjoint.append(result)
            report_failure(result, what=ADJOINT, on_failure=problem.on_failure)
            return result.matrix

        def tell(rest: Tensor) -> None:
            result = solution.adjoint[-1] = looked_at(solution.adjoint[-1], equations.pop(), rest)
            whole = replace(result, error=solution.gradient_error)
            report_error(whole, accuracy, what=ADJOINT, on_failure=problem.on_failure)

        return attached(
            problem,
            solution,
            tape,
            solve,
            look=SecondLook(point=_corrected(solution, share), tell=tell),
        )


def _corrected(solution: Solution, accuracy: float) -> Tensor:
    """Return where z* is estimated to be; the value itself where the estimate is a wild one."""
    assert solution.error is not None
    near = (solution.error <= accuracy)[:, None]
    value = solution.matrix.detach()
    return torch.where(near, value + solution.correction_matrix, value)
