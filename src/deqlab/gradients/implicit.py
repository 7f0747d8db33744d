"""Implicit differentiation of z* = f(z*, theta) by the implicit function theorem.

With J = df/dz at z*, u' dz*/dtheta = v' df/dtheta where v = J' v + u: the backward pass is one
linear equation a row (see `adjoint`). Memory does not grow with the number of forward steps.
Source: Bai, Kolter & Koltun (2019), "Deep Equilibrium Models", Theorem 1.

The Jacobian-free gradient takes v = u: one term of the Neumann series of (I - J')^-1. Source:
Fung et al. (2022), "JFB: Jacobian-Free Backpropagation for Implicit Networks".
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from deqlab.errors import report_failure
from deqlab.gradients.adjoint import GMRES, Adjoint, LinearMethod, solve_adjoint
from deqlab.gradients.attach import AdjointSolve, attach
from deqlab.gradients.base import Gradient, Problem
from deqlab.operators import Product
from deqlab.solution import Solution, Status
from deqlab.solvers import Solver


@dataclass(frozen=True, kw_only=True)
class Implicit(Gradient):
    """The exact gradient: the adjoint system is solved, sample by sample.

    A sample whose adjoint misses its tolerance warns or raises in the backward pass, as
    `on_failure` of the forward call says; `Solution.adjoint` keeps its verdicts. A sample where f
    was not finite has no gradient, and passes zero.

    Attributes:
        solver: The method for v = J'v + u: `GMRES()`, `Dense()`, or any solver, which starts at u;
            keep its atol 0 then, for the scale of a loss is arbitrary.
    """

    solver: Solver[Any] | LinearMethod = GMRES()

    @override
    def solve(self, problem: Problem) -> Solution:
        with torch.no_grad():
            solution = problem.solve()
        # A purely absolute forward tolerance says nothing about the adjoint, whose scale is
        # another: it is then solved to near rounding.
        rtol = problem.solver.rtol or 100 * torch.finfo(problem.z0.dtype).eps

        def solve(product: Product, u: Tensor) -> Tensor:
            equation = Adjoint(product=product, u=u, blocks=problem.blocks)
            with torch.no_grad():
                result = solve_adjoint(self.solver, equation, rtol)
            solution.adjoint.append(result)
            report_failure(result, what="adjoint of fixed_point", on_failure=problem.on_failure)
            return result.matrix

        return attached(problem, solution, solve)


@dataclass(frozen=True, kw_only=True)
class JacobianFree(Gradient):
    """An inexact gradient at the price of one backward pass through f: v = u.

    Its error is of the order of |J|; where f contracts enough and is well conditioned it keeps a
    descent direction (Fung et al. 2022).
    """

    @override
    def solve(self, problem: Problem) -> Solution:
        with torch.no_grad():
            solution = problem.solve()
        return attached(problem, solution, None)


def attached(problem: Problem, solution: Solution, solve: AdjointSolve | None) -> Solution:
    """Return the solution with a value that carries its gradient, if grad mode is on."""
    if not torch.is_grad_enabled():
        return solution
    value = attach(
        problem.f,
        solution.matrix,
        problem.args,
        defined=solution.status != Status.NONFINITE,
        solve=solve,
    )
    return replace(solution, value=value)
