"""One solve on plain rows: run, remembered, judged, and its buffers updated."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from deqlab.errors import report_lost_gradient
from deqlab.failures import report_error, report_failure
from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.coupling import couples_rows, report_coupled_value
from deqlab.maps.flat_map import FlatMap
from deqlab.solution import Solution, Status


def solved(
    problem: Problem,
    gradient: Gradient,
    remember: Callable[[Solution[Any]], object] | None,
) -> Solution[Tensor]:
    """Return the solution of a problem.

    What `remember` returns is True where somebody speaks of missed samples in place of warnings.

    Raises:
        ConvergenceError: A sample missed the tolerance, and the problem says to raise.
    """
    f = problem.f
    assert isinstance(f, FlatMap)
    solution = gradient.solve(problem)
    spoken_of = remember is not None and remember(solution) is True
    if f.loses_gradient:
        report_lost_gradient(problem.what)
    if problem.on_failure != "ignore" and bool(gradient.failed(solution).any()):
        _report(problem, f, solution, gradient.allowed_error, spoken_of=spoken_of)
    # Where f is not finite there is no evaluation at a solution.
    if f.writes_buffers and not bool((solution.status == Status.NONFINITE).any()):
        f.update_buffers(solution.matrix.detach(), *problem.args)
    return solution


def _report(
    problem: Problem,
    f: FlatMap,
    solution: Solution[Tensor],
    allowed_error: float | None,
    *,
    spoken_of: bool,
) -> None:
    """Raise or warn because samples missed the tolerance, or the accuracy; see `failures`."""
    what, on_failure = problem.what, problem.on_failure
    # Who goes on after a warning may come here at every step: then a glance has to do.
    bits = 1 if on_failure == "warn" else None
    if couples_rows(lambda z: f(z, *problem.args), solution.matrix.detach(), bits=bits):
        report_coupled_value(what, on_failure=on_failure)
    else:
        if on_failure == "raise" or not spoken_of:
            report_failure(solution, what=what, on_failure=on_failure, lowered=f.lowered)
        if allowed_error is not None:
            report_error(solution, allowed_error, what=what, on_failure=on_failure)
