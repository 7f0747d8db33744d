"""Differentiation through the iterations themselves.

The tape records every step of the solver, so that memory grows with their number. It is the
derivative of what was computed, not of the fixed point: the two agree as the solve converges. A
value that is the start itself (a warm start that had converged) was not computed, and carries none;
a row that turns nan on the way makes the gradient of weights that all rows share nan.
"""

from dataclasses import dataclass

from typing_extensions import override

from deqlab.gradients.base import Gradient, Problem
from deqlab.solution import Solution


@dataclass(frozen=True, kw_only=True)
class Unrolled(Gradient):
    """Backpropagation through all steps of the forward solver."""

    @override
    def solve(self, problem: Problem) -> Solution:
        return problem.run(taped=True)[0]
