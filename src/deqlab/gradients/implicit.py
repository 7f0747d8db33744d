"""Implicit differentiation of z* = f(z*, theta) by the implicit function theorem.

With J = df/dz at z*, u' dz*/dtheta = v' df/dtheta where v = J' v + u: the backward pass is a
fixed-point problem too, linear, and a deqlab solver solves it from v = u. Memory does not grow
with the number of forward steps. Source: Bai, Kolter & Koltun (2019), "Deep Equilibrium Models",
Theorem 1.

The Jacobian-free gradient takes v = u: one term of the Neumann series of (I - J')^-1. Source:
Fung et al. (2022), "JFB: Jacobian-Free Backpropagation for Implicit Networks".
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from deqlab.errors import report_failure
from deqlab.gradients.attach import AdjointSolve, attach
from deqlab.gradients.base import Gradient, Problem
from deqlab.operators import Product
from deqlab.solution import Solution, Status
from deqlab.solvers import Anderson, Solver


@dataclass(frozen=True, kw_only=True)
class Implicit(Gradient):
    """The exact gradient: the adjoint system is solved, sample by sample.

    A sample whose adjoint misses its tolerance warns or raises in the backward pass, as
    `on_failure` of the forward call says; `Solution.adjoint` keeps its verdicts. A sample where f
    was not finite has no gradient, and passes zero.

    Attributes:
        solver: The method for v = J'v + u, started at u. Keep its atol 0: the scale of a loss is
            arbitrary. None is Anderson with a window of 10 and the rtol of the forward solver.
    """

    solver: Solver[Any] | None = None

    @override
    def solve(self, problem: Problem) -> Solution:
        with torch.no_grad():
            solution = problem.solve()
        solver = self.solver or Anderson(
            # A purely absolute forward tolerance says nothing about the adjoint, whose scale is
            # another: it is then solved to near rounding.
            rtol=problem.solver.rtol or 100 * torch.finfo(problem.z0.dtype).eps,
            atol=0.0,
            memory=10,
            max_steps=200,
        )

        def solve_adjoint(product: Product, u: Tensor) -> Tensor:
            with torch.no_grad():
                result = solver.solve(lambda v: product(v) + u, u, blocks=problem.blocks)
            solution.adjoint.append(result)
            report_failure(result, what="adjoint of fixed_point", on_failure=problem.on_failure)
            return result.matrix

        return _attached(problem, solution, solve_adjoint)


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
        return _attached(problem, solution, None)


def _attached(problem: Problem, solution: Solution, solve: AdjointSolve | None) -> Solution:
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
