"""The adjoint from the inverse Jacobian that the forward pass has built.

Broyden's method ends with an estimate H of (J - I)^-1. Its transpose solves the adjoint equation
v = J'v + u roughly, for no product at all:

    v = -H'u.

H knows the directions that the solve went through, and no other: v may be poor. One product
measures its residual; a few more refine it by GMRES; a row that is still poor takes v = u. Source:
Ramzi et al. (2022), "SHINE: SHaring the INverse Estimate from the forward pass for bi-level
optimization and implicit models", whose fallback looks at the size of v; this one looks at its
residual.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.linear_methods import linear_solution
from deqlab.gradients.node import AdjointMethod
from deqlab.gradients.without_tape import attached, solved
from deqlab.linalg.gmres import gmres
from deqlab.linalg.norms import norms_in_place
from deqlab.linalg.products import Product
from deqlab.solution import Solution, Status
from deqlab.solvers.broyden import Broyden


@dataclass(frozen=True, kw_only=True)
class Shine(Gradient):
    """An inexact gradient from the memory of `Broyden`, which must be the forward solver.

    `Solution.adjoint` has the residual of each row's v; a row with more than `rtol` is no failure
    here, but says so in its status.

    Attributes:
        refine: Products spent on a better v, 0 or more.
        rtol: A residual of v up to this share of |u| needs no refinement, 0 or more.
        fallback: A row whose v still has a residual of more than this share of |u| takes v = u,
            above 0; inf for never.
    """

    refine: int = 0
    rtol: float = 1e-2
    fallback: float = 1.0

    def __post_init__(self) -> None:
        if self.refine < 0:
            raise ValueError(f"refine must be 0 or more, got {self.refine}")
        if not 0 <= self.rtol < float("inf"):
            raise ValueError(f"rtol must be 0 or more, and finite, got {self.rtol}")
        if not self.fallback > 0:
            raise ValueError(f"fallback must be above 0, got {self.fallback}")

    @override
    def solve(self, problem: Problem) -> Solution:
        solver = problem.solver
        if not isinstance(solver, Broyden):
            raise ValueError(
                "Shine takes the inverse Jacobian that Broyden has built: pass solver=Broyden(), "
                f"got {type(solver).__name__}; Implicit() goes with any solver"
            )
        # Every row's memory is wanted: none may leave.
        solution, memory, tape = solved(replace(problem, narrow=None))
        shared = _SharedInverse(self, lambda u: solver.inverse_transposed(memory, u), solution)
        return attached(problem, solution, tape, shared)


class _SharedInverse(AdjointMethod):
    """v from the inverse Jacobian of the forward solve, whose transpose is `inverse`."""

    def __init__(self, settings: Shine, inverse: Product, solution: Solution) -> None:
        self.settings, self.inverse, self.results = settings, inverse, solution.adjoint

    @override
    def solve(self, product: Product, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "Shine has no second derivative: its v does not come from a formula in u and "
                "z; use Implicit() for create_graph=True"
            )
        result = self._refined(product, u, -self.inverse(u))
        self.results.append(result)
        return result.matrix

    @override
    def of_adjoint(self) -> AdjointMethod:
        """Raise, for it is the transpose that the memory applies.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "fixed_point in forward mode (jvp, jacfwd, hessian) by Shine, whose estimate serves "
            "backward passes; use Implicit() instead"
        )

    def _refined(self, product: Product, u: Tensor, guess: Tensor) -> Solution:
        size = norms_in_place(u, (u.shape[1],))[:, 0]
        guess = torch.where(guess.isfinite().all(dim=1, keepdim=True), guess, u)  # a failed row's
        asked = self.settings
        result = gmres(
            product, u, x0=guess, tolerance=asked.rtol * size, max_products=1 + asked.refine
        )
        poor = ~(result.residual <= asked.fallback * result.size)
        status = np.where(result.converged, int(Status.CONVERGED), int(Status.MAX_STEPS))
        status[result.failed | ~np.isfinite(result.residual)] = Status.NONFINITE
        # A cotangent that is not finite goes on as it is, too: nobody shall read it as zero.
        replaced = torch.from_numpy(poor).to(u.device)[:, None]
        return linear_solution(
            u,
            torch.where(replaced, u, result.x),
            residual=result.residual,
            tolerance=result.tolerance,
            status=status,
            products=result.products,
            trace=result.trace,
            error=None,
        )
