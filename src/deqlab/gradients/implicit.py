"""Implicit differentiation of z* = f(z*, theta) by the implicit function theorem.

With J = df/dz at z*, u' dz*/dtheta = v' df/dtheta where v = J' v + u: the backward pass is one
linear equation a row (see `adjoint`). Memory does not grow with the number of forward steps.
Source: Bai, Kolter & Koltun (2019), "Deep Equilibrium Models", Theorem 1.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import check_kind
from deqlab.gradients.accuracy import VALUE, solve_to_accuracy
from deqlab.gradients.adjoint import LinearMethod
from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.exact_adjoint import ExactAdjoint
from deqlab.gradients.linear_methods import GMRES
from deqlab.gradients.without_tape import attached, solved
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.solvers.splitting import SplittingMethod


@dataclass(frozen=True, kw_only=True)
class Implicit(Gradient):
    """The exact gradient: the adjoint system is solved, sample by sample.

    A sample whose adjoint misses its tolerance warns or raises in the backward pass, as
    `on_failure` of the forward call says; `Solution.adjoint` keeps its verdicts, which are those of
    the residual J'v + u - v as it was measured at the end. So a batch whose rows f couples is
    noticed, and said. A sample that missed its tolerance in the forward solve has no equilibrium
    to differentiate: its v gets the products that other samples take, and its adjoint is not
    waited for. A sample where f was not finite has no gradient, and passes zero.

    Attributes:
        solver: The method for v = J'v + u: `GMRES()`, `Dense()`, or any solver, which starts at u;
            keep its atol 0 then, for the scale of a loss is arbitrary. `PeacemanRachford()` and
            the other splitting methods solve that of a monotone equilibrium, with the transpose
            of the forward resolvent, and converge for every W that they converge for there.
        accuracy: The relative error that the gradient may have, in (0, 1). The tolerances of both
            solves follow from it, sample by sample: the forward solver's own rtol, and that of
            GMRES, are then not used. The error that is meant is that of v in each sample; where
            losses of many samples meet in one parameter, its gradient is about as accurate. The
            gradient leaves f where z* is estimated to be, by one more evaluation there. It tells
            whether the slope of f changes within the error of the value; if so, z* and v are
            solved further, from where they are. `Solution.gradient_error` has the estimate, and a
            sample that misses the accuracy all the same warns or raises. None: the tolerances are
            as they are set.
        warm_start: Where GMRES starts: the v of the same samples from before, (B, D), as
            `Solution.adjoint[-1].value` has it; zeros for a sample of which none is known. It is
            kept by the caller, and passed in anew for each solve. The start is the multiple of it
            with the least residual, so that the size of the loss plays no part, and v of other
            samples costs one product and no more. What v is held to stays the same. Transforms of
            torch.func start without it. None: v starts at zero.
    """

    solver: Solver[Any] | LinearMethod = GMRES()
    accuracy: float | None = None
    warm_start: Float[Tensor, "B D"] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_kind("solver", self.solver, Solver, LinearMethod, example="GMRES()")
        if self.warm_start is not None:
            self._check_warm_start()
        if self.accuracy is None:
            return
        if not 0 < self.accuracy < 1:
            raise ValueError(f"accuracy must be in (0, 1), got {self.accuracy}")
        if not isinstance(self.solver, LinearMethod):
            raise ValueError(
                f"accuracy needs a linear method for the adjoint, GMRES() or Dense(), got "
                f"{type(self.solver).__name__}: only these estimate their error"
            )

    @property
    def _is_split(self) -> bool:
        """Whether the adjoint asks f for its parts, which not every f has."""
        return isinstance(self.solver, SplittingMethod)

    @property
    @override
    def allowed_error(self) -> float | None:
        return None if self.accuracy is None else VALUE * self.accuracy

    @override
    def solve(self, problem: Problem) -> Solution:
        if self.accuracy is not None:
            return solve_to_accuracy(problem, self.solver, self.accuracy)
        start = self._start(problem)
        solution, _, tape = solved(problem)
        if problem.lift is None and not (torch.is_grad_enabled() or self._is_split):
            return solution  # there is no adjoint, and nothing to refuse
        # A purely absolute forward tolerance says nothing about the adjoint, whose scale is
        # another: it is then solved to near rounding.
        rtol = problem.solver.rtol or 100 * torch.finfo(problem.z0.dtype).eps
        method = ExactAdjoint(problem, solution, self.solver, rtol, warm_start=start)
        return attached(problem, solution, tape, method)

    def _start(self, problem: Problem) -> Float[Tensor, "B D"] | None:
        """Return where v starts, as a state of the problem; None for zero."""
        start, z = self.warm_start, problem.z0
        if start is None or problem.lift is not None:
            return None
        if start.shape != z.shape:
            raise ValueError(
                f"Implicit: warm_start has the shape {tuple(start.shape)}, and v in this solve "
                f"{tuple(z.shape)}: pass the v of these samples, as Solution.adjoint[-1].value has "
                "it"
            )
        return start.detach().to(z)

    def _check_warm_start(self) -> None:
        check_kind("warm_start", self.warm_start, Tensor, example="solution.adjoint[-1].value")
        if not isinstance(self.solver, GMRES):
            raise ValueError(
                f"warm_start is a start of GMRES, and solver is {type(self.solver).__name__}: take "
                "GMRES(), or no warm_start"
            )
        if self.accuracy is not None:
            raise ValueError(
                "warm_start hides how fast residuals fall, by which accuracy estimates the error: "
                "set tolerances, as in Implicit(solver=GMRES(rtol=1e-3)), or take no warm_start"
            )
