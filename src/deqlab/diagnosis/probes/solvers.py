"""What each solver takes on this f: evaluations, products and time, from the same start."""

import time
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from deqlab.diagnosis.subject import Problem
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.auto import Auto
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden import Broyden
from deqlab.solvers.newton_krylov import NewtonKrylov
from deqlab.solvers.picard import Picard

SHORT = 0.5
"""Seconds below which a solve is timed twice, of which the shorter counts."""

MOST_STEPS = 300
"""Of Picard iteration, which may need many cheap ones."""


@dataclass(frozen=True, kw_only=True)
class SolverRun:
    """One solve of the batch by one solver.

    Attributes:
        solver: The solver.
        converged: Whether each sample did.
        counted: Whether f is finite for it at the start; the others have no say.
        steps: In how many steps.
        evaluations: Of f, for the whole batch.
        products: With J, beside.
        seconds: The time of the whole solve.
        trace: |f(z) - z| of each sample at every iterate, (T, B).
        tolerance: What it may be.
        value: The states, (B, D).
    """

    solver: Solver[Any]
    converged: Bool[Tensor, " B"]
    counted: Bool[Tensor, " B"]
    steps: Int[Tensor, " B"]
    evaluations: int
    products: int
    seconds: float
    trace: Float[Tensor, "T B"]
    tolerance: Float[Tensor, " B"]
    value: Float[Tensor, "B D"]

    @property
    def all_converged(self) -> bool:
        """Whether every sample that counts is at a fixed point."""
        return not bool(self.missed.any())

    @property
    def missed(self) -> Bool[Tensor, " B"]:
        """The samples that count, and are at none."""
        return self.counted & ~self.converged


def rivals(solver: Solver[Any]) -> dict[str, Solver[Any]]:
    """Return the diagnosed solver and the general ones by name, all with its tolerance."""
    own: dict[str, Any] = {"rtol": solver.rtol, "atol": solver.atol}
    many = max(MOST_STEPS, solver.max_steps)
    others: list[Solver[Any]] = [
        Picard(**own, max_steps=many, patience=max(solver.patience, many // 5)),
        Anderson(**own, max_steps=max(solver.max_steps, 100)),
        Broyden(**own, max_steps=max(solver.max_steps, 100)),
        NewtonKrylov(**own, max_steps=max(solver.max_steps, 30)),
        Auto(**own, max_steps=max(solver.max_steps, 100)),
    ]
    # The same method with the settings of whoever chose it is no rival.
    every = [solver, *(other for other in others if type(other) is not type(solver))]
    return {type(each).__name__: each for each in every}


def run_of(problem: Problem, solver: Solver[Any]) -> SolverRun:
    """Run one solver from the start."""
    seconds, solution = _timed(problem, solver)
    if seconds < SHORT and bool(solution.converged.any()):
        again, solution = _timed(problem, solver)
        seconds = min(seconds, again)
    return SolverRun(
        solver=solver,
        converged=solution.converged.cpu(),
        counted=problem.at(problem.z0).isfinite().all(dim=1).cpu(),
        steps=solution.steps.cpu(),
        evaluations=solution.evaluations,
        products=solution.products,
        seconds=seconds,
        trace=solution.trace.cpu(),
        tolerance=solution.tolerance.cpu(),
        value=solution.matrix,
    )


def tighter(solver: Solver[Any], rtol: float) -> Solver[Any]:
    """Return a solver with another tolerance, and room to reach it."""
    return replace(solver, rtol=rtol, max_steps=3 * solver.max_steps, patience=3 * solver.patience)


def _timed(problem: Problem, solver: Solver[Any]) -> tuple[float, Solution]:
    begun = time.perf_counter()
    solution = problem.solve(solver, problem.z0)
    bool(solution.converged.all())  # waits for the device
    return time.perf_counter() - begun, solution
