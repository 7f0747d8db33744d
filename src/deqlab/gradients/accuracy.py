"""Implicit gradients whose error is asked for, and not their tolerances.

Both solves are held to estimated errors (see `solvers.loop.error_control`). What remains is that v
was found at the value and not at z*, where the slope of f may be another. So the gradient leaves f
at a point that is closer to z*: one evaluation there measures how far v is from solving its
equation.
If that is too far, both solves go on from where they are, to a smaller error.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.failures import report_error
from deqlab.gradients.adjoint import LinearMethod, moved
from deqlab.gradients.base import Problem
from deqlab.gradients.captured import Gradients
from deqlab.gradients.coupling import has_coupled_rows, report_coupled_gradient
from deqlab.gradients.exact_adjoint import ExactAdjoint
from deqlab.gradients.node import Backward
from deqlab.gradients.tape import Tape
from deqlab.gradients.without_tape import attached, solved
from deqlab.linalg.products import Product
from deqlab.maps.matrix_map import Bound
from deqlab.solution import Solution
from deqlab.solvers.base import Solver

VALUE, ADJOINT_SHARE = 0.7, 0.4
"""The shares of the accuracy for the value, whose error the gradient does not see in full as it
leaves f at a better point, and for the adjoint. Where rows cancel in the gradient of a parameter,
its relative error is larger than theirs."""

ROUNDS = 4
"""How often both solves may go on."""

LEAST, MOST = 0.02, 0.5
"""By what factor the errors are made smaller from one round to the next."""


def solve_to_accuracy(
    problem: Problem, method: Solver[Any] | LinearMethod, accuracy: float
) -> Solution:
    """Return the solution, whose value carries a gradient with this relative error."""
    share = VALUE * accuracy
    problem = replace(problem, solver=replace(problem.solver, rtol=accuracy))
    solution, _, tape = solved(problem, accuracy=share)
    adjoint = _ToAccuracy(problem, solution, method, accuracy)
    return attached(problem, solution, tape, adjoint, near=_corrected(solution, share))


class _ToAccuracy(ExactAdjoint):
    def __init__(
        self,
        problem: Problem,
        solution: Solution,
        method: Solver[Any] | LinearMethod,
        accuracy: float,
    ) -> None:
        super().__init__(problem, solution, method, ADJOINT_SHARE * accuracy, by_error=True)
        assert solution.error is not None
        self.accuracy, self.error = accuracy, solution.error
        self.solver, self.f = problem.solver, problem.f

    @override
    def gradients(self, backward: Backward, tape: Tape) -> Gradients:
        if backward.near is None:  # of a higher derivative
            return super().gradients(backward, tape)
        point, error, v = backward.near, self.error, None
        share = VALUE * self.accuracy
        for rounds_left in reversed(range(ROUNDS + 1)):
            product = backward.product(tape)
            v = self.solve_from(v, product, backward.u, self.rtol).matrix
            if rounds_left < ROUNDS:  # one verdict for each backward pass
                before, now = self.results.pop(-2), self.results[-1]
                self.results[-1] = replace(now, products=now.products + before.products)
            residual, gradients = backward.leave(backward.record(point), v)
            excess = self._judge(residual, error)
            if not rounds_left or not 1 < excess < float("inf"):
                break
            if has_coupled_rows(product, v):
                break
            share *= min(max(0.9 / excess, LEAST), MOST)
            point, error, tape = self._further(backward, point, share)
        self._report(excess, product)
        return gradients

    @override
    def check(self, product: Product, v: Tensor, residual: Float[Tensor, "B D"]) -> None:
        self._report(self._judge(residual, self.error), product)

    def _judge(self, residual: Float[Tensor, "B D"], error: Float[Tensor, " B"]) -> float:
        """Enter the error of the gradient, given J'v + u - v at a point closer to z*.

        Returns:
            The largest one over what is allowed, among rows that are waited for.
        """
        assert self.equation is not None
        result = moved(self.results[-1], self.equation, residual)
        assert result.error is not None
        result = replace(result, error=torch.hypot(result.error, error))
        self.results[-1] = result
        errors = self._counted(result)
        return float(errors.max()) / self.accuracy if len(errors) else 0.0

    def _counted(self, result: Solution) -> Float[Tensor, " B"]:
        """Return the errors of the rows that are waited for; zero elsewhere."""
        assert result.error is not None
        return result.error.where(self.waited_for(result.error.isfinite()), 0.0)

    def _further(
        self, backward: Backward, point: Float[Tensor, "B D"], share: float
    ) -> tuple[Tensor, Tensor, Tape]:
        """Solve on from a point; return one that is closer to z*, the error, and the tape."""
        solver = replace(self.solver, rtol=share / VALUE, record=())
        with torch.no_grad():
            f = Bound(self.f, backward.args)
            solution, _ = solver.run(f, point, blocks=self.blocks, accuracy=share)
        assert solution.error is not None
        return _corrected(solution, share), solution.error, backward.record(solution.matrix)

    def _report(self, excess: float, product: Product) -> None:
        self.equation = None
        result = self.results[-1]
        self.report(result, product)
        if self.on_failure == "ignore" or not excess > 1:
            return
        if has_coupled_rows(product, result.matrix):
            report_coupled_gradient(self.asked_by, on_failure=self.on_failure)
        else:
            counted = replace(result, error=self._counted(result))
            report_error(counted, self.accuracy, what=self.what, on_failure=self.on_failure)


def _corrected(solution: Solution, accuracy: float) -> Float[Tensor, "B D"]:
    """Return where z* is estimated to be; the value itself where the estimate is a wild one."""
    assert solution.error is not None
    near = (solution.error <= accuracy)[:, None]
    value = solution.matrix.detach()
    return torch.where(near, value + solution.correction_matrix, value)
