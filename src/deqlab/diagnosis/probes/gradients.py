"""The true error of gradients: against the adjoint equation, solved by another route.

With a random cotangent u of z*, the gradient that reaches f is v, the solution of v = J'v + u: that
of e in z = f(z) + e at e = 0. So each kind of gradient is asked for its derivative by e, which is
compared with v from a dense factorisation in float64 of I - J', or for large states from GMRES to
rounding, at a point that is solved to rounding itself.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.diagnosis.subject import Problem
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.phantom import JacobianFree, Phantom
from deqlab.linalg.gmres import gmres
from deqlab.linalg.products import jacobian, linearize
from deqlab.solution import Solution
from deqlab.solve import fixed_point
from deqlab.solvers.base import Solver
from deqlab.solvers.picard import Picard
from deqlab.solvers.splitting import SplittingMethod

SHORT = 0.5
"""Seconds below which the chosen gradient is taken twice, of which the second one is timed."""

DENSE = 512
"""Numbers in the state of a sample up to which J is factorised."""

DENSE_NUMBERS = 2**24
"""Numbers in J of the whole batch, likewise."""


@dataclass(frozen=True, kw_only=True)
class GradientError:
    """How one gradient compares with the true one.

    Attributes:
        error: |v - v*| / |v*| of each sample; nan where there is no fixed point.
        cosine: The cosine between the two, likewise.
        products: With J', that the backward pass took.
        forward: Seconds of the solve with what it records.
        backward: Seconds of the backward pass.
    """

    error: Float[Tensor, " B"]
    cosine: Float[Tensor, " B"]
    products: int
    forward: float
    backward: float


@dataclass(frozen=True, kw_only=True)
class GradientErrors:
    """All gradients that were compared.

    Attributes:
        chosen: The name of the one that is diagnosed.
        by_name: Each by its name.
        reference: How the true one was found.
        unmeasured: Why the chosen one was not compared; empty if it was.
    """

    chosen: str
    by_name: dict[str, GradientError] = field(default_factory=dict)
    reference: str = ""
    unmeasured: str = ""


def gradient_errors(
    problem: Problem,
    solver: Solver[Any],
    gradient: Gradient,
    z_star: Float[Tensor, "B D"],
    seed: int,
) -> GradientErrors:
    """Compare the chosen gradient and three others with the true one.

    Args:
        problem: The problem.
        solver: Of the forward solves, from the start of the problem.
        gradient: The chosen one.
        z_star: The fixed points, solved to rounding; rows that are nan have none.
        seed: Of the cotangent.
    """
    name = type(gradient).__name__
    if not gradient.seeks_equilibrium:
        return GradientErrors(chosen=name, unmeasured="it differentiates loops, not a fixed point")
    if isinstance(gradient, Implicit) and isinstance(gradient.solver, SplittingMethod):
        # It needs the parts of f, which f + e does not show.
        return GradientErrors(chosen=name, unmeasured="its adjoint is solved by splitting")
    present = z_star.isfinite().all(dim=1, keepdim=True)
    at = torch.where(present, z_star, problem.z0)
    random = torch.Generator().manual_seed(seed)
    u = torch.randn(at.shape, generator=random, dtype=torch.float64).to(at)
    u = torch.where(present, u, 0.0)
    truth, how = _true(problem, at, u)
    truth = torch.where(present, truth, torch.nan)
    # A splitting method needs the parts of f as well: there the solve starts at its end, as those
    # of the gradients that are compared do.
    arrived: Solver[Any] = Picard(rtol=solver.rtol, atol=solver.atol)
    splits = isinstance(solver, SplittingMethod)
    begun = (arrived, at) if splits else (solver, problem.z0)
    own = _compared(problem, gradient, begun, u, truth)
    if own.forward < SHORT:  # now that everything is warm
        own = _compared(problem, gradient, begun, u, truth)
    found = {name: own}
    for other in (Implicit(), Phantom(), JacobianFree()):
        if type(other) is not type(gradient):
            found[type(other).__name__] = _compared(problem, other, (arrived, at), u, truth)
    return GradientErrors(chosen=name, by_name=found, reference=how)


def _compared(
    problem: Problem,
    gradient: Gradient,
    begun: tuple[Solver[Any], Float[Tensor, "B D"]],
    u: Float[Tensor, "B D"],
    truth: Float[Tensor, "B D"],
) -> GradientError:
    solver, start = begun
    e = torch.zeros_like(start, requires_grad=True)

    def shifted(z: Tensor, e: Tensor, *args: object) -> Tensor:
        return problem.f(z, *args) + e

    clock = time.perf_counter()
    with torch.enable_grad():
        solution: Solution = fixed_point(
            shifted, start, e, *problem.args, solver=solver, gradient=gradient, on_failure="ignore"
        )
        between = time.perf_counter()
        (v,) = torch.autograd.grad(solution.value, e, u)
    ended = time.perf_counter()
    v, truth = v.double(), truth.double()
    size = truth.norm(dim=1)
    apart = (v - truth).norm(dim=1) / size
    cosine = torch.linalg.vecdot(v, truth) / (size * v.norm(dim=1))
    reached = solution.converged.to(apart.device) & (size > 0)
    return GradientError(
        error=torch.where(reached, apart, torch.nan).cpu(),
        cosine=torch.where(reached, cosine, torch.nan).cpu(),
        products=solution.adjoint[-1].products if solution.adjoint else 0,
        forward=between - clock,
        backward=ended - between,
    )


def _true(
    problem: Problem, z: Float[Tensor, "B D"], u: Float[Tensor, "B D"]
) -> tuple[Float[Tensor, "B D"], str]:
    """Return v = (I - J')^-1 u, nan where that has no solution, and how it was found."""
    batch, dim = z.shape
    if dim <= DENSE and batch * dim * dim <= DENSE_NUMBERS:
        _, j = jacobian(problem.map, z)
        system = torch.eye(dim, dtype=torch.float64, device=z.device) - j.double().mT
        v, info = torch.linalg.solve_ex(system, u.double())
        return torch.where((info == 0)[:, None], v, torch.nan), "a dense factorisation in float64"
    _, _, product = linearize(problem.map, z)
    rtol = 10 * torch.finfo(z.dtype).eps
    sizes = torch.linalg.vector_norm(u, dim=1).double().cpu().numpy()
    result = gmres(product, u, tolerance=rtol * sizes, max_products=1000)
    near = torch.from_numpy(result.residual <= 100 * rtol * sizes).to(z.device)
    return torch.where(near[:, None], result.x, torch.nan), "GMRES to rounding"
