"""What a warm start saves: a solve at inputs that are a little others, from the last value."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from deqlab.diagnosis.probes.solvers import SolverRun
from deqlab.diagnosis.subject import Subject

MOVED = 0.01
"""How far inputs are moved, relative to their size."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Two solves at inputs that were moved.

    Attributes:
        cold: Steps of a sample from where the solve starts by itself, the mean.
        warm: From the value at the inputs before they moved.
    """

    cold: float
    warm: float


def warm_start(subject: Subject, run: SolverRun, seed: int) -> WarmStart | None:
    """Move the inputs, and solve twice; None if there are none, or not all samples converge."""
    parts = [part for part in tree_leaves(subject.inputs) if _moves(part)]
    if not parts or not run.all_converged:
        return None
    random = torch.Generator().manual_seed(seed)

    def moved(part: Any) -> Any:  # noqa: ANN401, whatever f takes
        if not _moves(part):
            return part
        noise = torch.randn(part.shape, generator=random, dtype=torch.float64).to(part)
        return part.detach() + MOVED * part.detach().square().mean().sqrt() * noise

    problem = subject.with_inputs(tree_map(moved, subject.inputs)).problem()
    with torch.no_grad():
        cold = problem.solve(run.solver, problem.z0)
        warm = problem.solve(run.solver, run.value)
    both = (cold.converged & warm.converged).cpu()
    if bool((run.counted & ~both).any()):
        return None
    steps = (solve.steps.cpu()[run.counted].double().mean().item() for solve in (cold, warm))
    return WarmStart(cold=next(steps), warm=next(steps))


def _moves(part: object) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and part.numel() > 0
