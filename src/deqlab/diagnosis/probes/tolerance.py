"""How much the answer changes when the tolerance is a hundredth."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.diagnosis.probes.solvers import SolverRun, tighter
from deqlab.diagnosis.subject import Problem

FACTOR = 100.0

RESOLVED = 10.0
"""In units of eps: no tolerance below it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The answer at two tolerances.

    Attributes:
        rtol: That of the solver.
        tighter: The other one.
        change: The relative change of each sample; nan where one of the two did not converge.
        evaluations: What the tighter one took.
    """

    rtol: float
    tighter: float
    change: Float[Tensor, " B"]
    evaluations: int


def sensitivity(problem: Problem, run: SolverRun) -> Sensitivity | None:
    """Solve again to a hundredth of the tolerance; None if the dtype resolves no smaller one."""
    rtol = run.solver.rtol
    eps = torch.finfo(problem.f.lowered or problem.z0.dtype).eps
    wanted = max(rtol / FACTOR, RESOLVED * eps)
    if wanted >= rtol / 2:
        return None
    again = problem.solve(tighter(run.solver, wanted), problem.z0)
    both = run.converged & again.converged.cpu()
    size = torch.linalg.vector_norm(again.matrix, dim=1).cpu()
    change = torch.linalg.vector_norm(again.matrix - run.value, dim=1).cpu()
    relative = change / torch.where(size > 0, size, 1.0)
    return Sensitivity(
        rtol=rtol,
        tighter=wanted,
        change=torch.where(both, relative, torch.nan),
        evaluations=again.evaluations,
    )
