"""A problem solved without a tape, whose value then carries its gradient; see `node`."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from deqlab.gradients.base import Problem
from deqlab.gradients.node import AdjointSolve, SecondLook, attach
from deqlab.gradients.tape import LastTape, Tape
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
    solve: AdjointSolve,
    *,
    solve_again: AdjointSolve | None = None,
    exact: bool = True,
    look: SecondLook | None = None,
) -> Solution:
    """Return the solution with a value that carries its gradient, if grad mode is on."""
    if not torch.is_grad_enabled():
        return solution
    value = attach(
        problem.f,
        solution.matrix,
        problem.args,
        defined=solution.status != Status.NONFINITE,
        solve=solve,
        solve_again=solve_again,
        exact=exact,
        tape=tape,
        look=look,
    )
    return replace(solution, value=value, states=attached_states(problem, solution))


def attached_states(problem: Problem, solution: Solution) -> tuple[Tensor, ...]:
    """Return the recorded iterates, each with the gradient of one evaluation of f there.

    They are no fixed points: v = u is what fixed-point correction uses.
    """
    defined = solution.status != Status.NONFINITE
    return tuple(
        attach(problem.f, z, problem.args, defined=defined, solve=lambda product, u: u, exact=False)
        for z in solution.state_matrices
    )
