"""A solve under transforms of torch.func (grad, vjp, jvp, vmap, jacrev, ...) and in forward mode.

The solve runs on plain rows, set aside from all transforms, by the gradient's own method. `vmap` of
it is that solve of more rows. What differentiates follows evaluations of f after it; see
`gradients.lift`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from deqlab.gradients.base import Gradient, Problem
from deqlab.gradients.lift import Called, Lift, Steps
from deqlab.maps.flat_map import FlatMap
from deqlab.maps.matrix_map import Bound
from deqlab.maps.transforms import BatchedTooError, Levels, OfRows, set_aside
from deqlab.solution import Solution, Status
from deqlab.solvers.splitting import SplittingMethod
from deqlab.solving import solved
from deqlab.state import Layout


def solve_in_levels(
    problem: Problem,
    f: FlatMap,
    gradient: Gradient,
    remember: Callable[[Solution[Any]], object] | None,
) -> Solution[Tensor]:
    """Return the solution of a problem within the levels of the caller.

    Args:
        problem: The problem as the caller sees it.
        f: Its map.
        gradient: How the value is differentiated.
        remember: Told the verdicts of all rows.

    Raises:
        NotImplementedError: The solver or the gradient has no part in transforms.
    """
    for method in (problem.solver, getattr(gradient, "solver", None)):
        _check(method)
    if parametrize._cache_enabled:  # what it keeps must be at home in the levels of the caller
        f.evaluate(problem.z0, problem.args)
    levels = Levels.present(problem.z0, problem.args)
    while True:
        try:
            return _spread(problem, f, levels, gradient, remember)
        except BatchedTooError as found:  # f captures what a vmap batches
            levels = levels.with_batch(found.number)


def _spread(
    problem: Problem,
    f: FlatMap,
    levels: Levels,
    gradient: Gradient,
    remember: Callable[[Solution[Any]], object] | None,
) -> Solution[Tensor]:
    """Solve for all rows of the batches in `levels`; return what one caller sees."""
    start = levels.rows(problem.z0)
    lift = Lift() if levels.orders else None
    with set_aside():
        flat = FlatMap(OfRows(f, problem.args, levels), Layout.of(start), start.device)
        rows = replace(problem, f=flat, z0=start.detach(), args=(), narrow=None, lift=lift)
        with torch.set_grad_enabled(torch.is_grad_enabled() or lift is not None):
            solution = solved(rows, gradient, remember)
    f.held = flat.held  # here too f is the map that was solved for
    seen = _seen(solution, levels)
    if lift is None:
        return seen
    assert lift.rule is not None, "every gradient leaves a rule, or refuses"
    called = Called(
        f=Bound(f, problem.args),
        z_star=seen.matrix,
        start=problem.z0,
        defined=seen.status != Status.NONFINITE,
        levels=levels,
    )
    states = (replace(called, z_star=state) for state in seen.state_matrices)
    once = Steps(count=1)
    return replace(seen, value=lift.rule.value(called), states=tuple(map(once.value, states)))


def _seen(solution: Solution[Tensor], levels: Levels) -> Solution[Tensor]:
    """Return a solution of rows as one of each problem, within the levels of the caller."""
    fields = vars(solution)
    rows = ("value", "residual", "tolerance", "status", "steps", "error", "correction")
    known = {name: fields[name] for name in rows if fields[name] is not None}
    changed: dict[str, Any] = {name: levels.from_rows(each) for name, each in known.items()}
    changed["trace"] = levels.from_rows(solution.trace, dim=1)
    changed["states"] = tuple(map(levels.from_rows, solution.state_matrices))
    # A copy: a start that has converged is the caller's.
    changed["value"] = changed["value"].clone()
    return replace(solution, **changed)


def _check(method: object) -> None:
    if isinstance(method, SplittingMethod):
        raise NotImplementedError(
            "fixed_point under a transform of torch.func (grad, jvp, vmap, jacrev, ...) or "
            f"forward-mode differentiation by {type(method).__name__}, which takes f "
            "apart; use another solver instead, such as Auto(), or torch.autograd.grad outside of "
            "transforms"
        )
