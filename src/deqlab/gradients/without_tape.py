"""A problem solved without a tape, whose value then carries its gradient; see `node`."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.gradients.attach import attach
from deqlab.gradients.base import Problem
from deqlab.gradients.lift import Chords
from deqlab.gradients.node import AdjointMethod
from deqlab.gradients.tape import LastTape, Tape
from deqlab.linalg.products import Product
from deqlab.solution import Solution, Status


def solved(problem: Problem, *, accuracy: float | None = None) -> tuple[Solution, Any, Tape | None]:
    """Run the forward method; return what `Solver.run` does, and a tape of f at the value.

    The tape is None if grad mode is off, or if the evaluation that ended the solve came as a
    surprise: `attached` then evaluates f once more.
    """
    last = LastTape(problem.f, problem.args) if torch.is_grad_enabled() else None
    with torch.no_grad():
        solution, memory = problem.run(accuracy=accuracy, last=last)
    return solution, memory, None if last is None else last.at(solution.matrix)


def attached(
    problem: Problem,
    solution: Solution,
    tape: Tape | None,
    method: AdjointMethod,
    *,
    near: Float[Tensor, "B D"] | None = None,
) -> Solution:
    """Return the solution with a value that carries its gradient, if grad mode is on."""
    defined = solution.status != Status.NONFINITE
    if problem.lift is not None:
        tape = tape or Tape.record(problem.f, solution.matrix, problem.args)
        problem.lift.rule = Chords.of(method, problem.f, tape, defined)
        return solution
    if not torch.is_grad_enabled():
        return solution
    value = attach(
        problem.f,
        solution.matrix,
        problem.args,
        defined=defined,
        method=method,
        tape=tape,
        near=near,
    )
    return replace(solution, value=value, states=attached_states(problem, solution))


def attached_states(problem: Problem, solution: Solution) -> tuple[Tensor, ...]:
    """Return the recorded iterates, each with the gradient of one evaluation of f there.

    They are no fixed points: v = u is what fixed-point correction uses.
    """
    defined = solution.status != Status.NONFINITE
    return tuple(
        attach(problem.f, z, problem.args, defined=defined, method=OneStep())
        for z in solution.state_matrices
    )


class OneStep(AdjointMethod):
    """v = u: the gradient of one evaluation of f."""

    @override
    def solve(self, product: Product, u: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return u
