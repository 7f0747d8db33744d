"""Differentiation through the iterations themselves.

The tape records every step, so that memory grows with their number; with checkpoints it keeps one
state a step and evaluates f once more in the reverse pass (Chen et al. 2016, "Training Deep Nets
with Sublinear Memory Cost"). It is the derivative of what was computed, not of the fixed point:
the two agree as the solve converges. A row that turns nan on the way makes the gradient of weights
that all rows share nan.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.lift import Steps
from deqlab.gradients.without_tape import attached_states
from deqlab.maps.matrix_map import MapWithArgs
from deqlab.solution import Solution, Status


@dataclass(frozen=True, kw_only=True)
class Unrolled(Gradient):
    """Backpropagation through the steps of the forward solver, or through a few more.

    Attributes:
        steps: None records every step of the solver. A value that is the start itself (a warm
            start that had converged) was then not computed, and carries no gradient. A number k
            of steps, at least 1, is truncated backpropagation: the solve leaves no tape, and k
            evaluations of f from z* do.
        checkpoint: Keep one state a step, not what f computes inside.
    """

    steps: int | None = None
    checkpoint: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, or None for all, got {self.steps}")

    @override
    def solve(self, problem: Problem) -> Solution:
        taped = replace(problem, f=_checkpointed(problem.f)) if self.checkpoint else problem
        if self.steps is None:
            if problem.lift is not None:
                problem.lift.refuse(self)
            if not problem.solver.unrollable:
                name = type(problem.solver).__name__
                raise ValueError(
                    f"Unrolled records the steps of the solver, and those of {name} cannot be: "
                    "take Unrolled(steps=...) or Implicit(), or a solver such as Anderson()"
                )
            solution = taped.run(taped=True)[0]
            # A copy: who writes to the value shall not write to what its steps have saved.
            return replace(solution, value=solution.matrix.clone())
        with torch.no_grad():
            solution = problem.solve()
        end = continued(taped, solution, steps=self.steps, damping=1.0)
        return carry(problem, solution, end)


def continued(
    problem: Problem, solution: Solution, *, steps: int, damping: float
) -> Float[Tensor, "B D"]:
    """Return z after this many damped steps from z*, which is no part of the tape.

    A row where f was not finite stays at its best iterate: beyond it f may be nan, and 0 * nan is
    nan in the backward pass.
    """
    z = z_star = solution.matrix.detach()
    if problem.lift is not None:
        problem.lift.rule = Steps(count=steps, damping=damping)
        return z
    defined = (solution.status != Status.NONFINITE)[:, None]
    if torch.is_grad_enabled():
        for _ in range(steps):
            fz = torch.where(defined, problem.f(z, *problem.args), z_star)
            z = fz if damping == 1 else torch.lerp(z, fz, damping)
    return z


def carry(problem: Problem, solution: Solution, end: Float[Tensor, "B D"]) -> Solution:
    """Return the solution with its value as it is, and the gradient of `end`."""
    if not end.requires_grad:
        return solution
    value: Tensor = _Carry.apply(solution.matrix, end)
    return replace(solution, value=value, states=attached_states(problem, solution))


class _Carry(torch.autograd.Function):
    """One tensor's value with another's gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradient_of: Tensor) -> Tensor:  # noqa: ANN401
        return value.clone()  # what it was made from shall not be written to

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[None, Tensor]:  # noqa: ANN401
        return None, cotangent


def _checkpointed(f: MapWithArgs) -> MapWithArgs:
    def evaluate(z: Tensor, *args: object) -> Tensor:
        if not torch.is_grad_enabled():
            return f(z, *args)
        result: Tensor = checkpoint(f, z, *args, use_reentrant=False)
        return result

    return evaluate
