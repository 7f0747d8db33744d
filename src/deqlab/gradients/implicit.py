"""Implicit differentiation of z* = f(z*, theta) by the implicit function theorem.

With J = df/dz at z*, u' dz*/dtheta = v' df/dtheta where v = J' v + u: the backward pass is one
linear equation a row (see `adjoint`). Memory does not grow with the number of forward steps.
Source: Bai, Kolter & Koltun (2019), "Deep Equilibrium Models", Theorem 1.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from deqlab.errors import report_error, report_failure
from deqlab.gradients.adjoint import GMRES, Adjoint, LinearMethod, solve_adjoint
from deqlab.gradients.attach import attached
from deqlab.gradients.base import Gradient, Problem
from deqlab.operators import Product, linearize
from deqlab.solution import Solution
from deqlab.solvers import Solver

SHARE = 0.6
"""Of the accuracy, for the value and for the adjoint: errors of two sources add in squares, and a
little is left for what the error of the value does to the adjoint."""


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
            GMRES, are then not used. One more evaluation of f and one more product look whether
            the slope of f changes within the error of the value, as at the kinks of relu.
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
        if self.accuracy is None:
            with torch.no_grad():
                solution = problem.solve()
            # A purely absolute forward tolerance says nothing about the adjoint, whose scale is
            # another: it is then solved to near rounding.
            rtol = problem.solver.rtol or 100 * torch.finfo(problem.z0.dtype).eps
        else:
            rtol = SHARE * self.accuracy
            problem = replace(problem, solver=replace(problem.solver, rtol=self.accuracy))
            with torch.no_grad():
                solution = problem.run(accuracy=rtol)[0]
            report_error(solution, rtol, what="fixed_point", on_failure=problem.on_failure)

        def solve(product: Product, u: Tensor, *, looks: bool) -> Tensor:
            with torch.no_grad():
                equation = Adjoint(product=product, u=u, blocks=problem.blocks)
                if self.accuracy is not None:
                    elsewhere = _product_at_the_correction(problem, solution) if looks else None
                    equation = replace(equation, by_error=True, elsewhere=elsewhere)
                result = solve_adjoint(self.solver, equation, rtol)
            solution.adjoint.append(result)
            what = "adjoint of fixed_point"
            report_failure(result, what=what, on_failure=problem.on_failure)
            if self.accuracy is not None:
                whole = replace(result, error=solution.gradient_error)
                report_error(whole, self.accuracy, what=what, on_failure=problem.on_failure)
            return result.matrix

        return attached(
            problem,
            solution,
            partial(solve, looks=True),
            # The equations of higher derivatives are others; only the first is looked at twice.
            solve_again=partial(solve, looks=False),
        )


def _product_at_the_correction(problem: Problem, solution: Solution) -> Product:
    """Return v -> J'v where the value is estimated to be."""
    args = [arg.detach() if isinstance(arg, Tensor) else arg for arg in problem.args]
    corrected = solution.matrix.detach() + solution.correction_matrix
    return linearize(lambda z: problem.f(z, *args), corrected)[2]
