"""The step alpha of a splitting method, found by trying: halved from where it is while that helps.

Every alpha > 0 leads Peaceman-Rachford splitting to the same point, at another speed, which depends
on W and so changes in training. Source: Winston & Kolter (2020), whose training tunes it twice an
epoch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from deqlab.arguments import check_count, check_kind
from deqlab.solution import Solution
from deqlab.solvers.splitting import DouglasRachford, PeacemanRachford

Reflections = TypeVar("Reflections", bound=PeacemanRachford | DouglasRachford)


def tuned(
    solver: Reflections,
    solve: Callable[[Reflections], Solution[Any]],
    *,
    start: float = 1.0,
    halvings: int = 10,
) -> Reflections:
    """Return the solver with the alpha of `start`, `start` / 2, ... that takes fewest evaluations.

    The search ends where an alpha takes more than a larger one did. A solve that leaves a sample
    unsolved counts as worse than any that leaves none.

    Args:
        solver: The method, whose other settings stay.
        solve: Solves a problem that is typical, a batch of training for one, by a method; it
            should neither raise nor warn.
        start: The largest alpha that is tried, more than 0.
        halvings: How often it is halved at most.

    Example:
        >>> import torch
        >>> from deqlab import DEQ, fixed_point
        >>> from deqlab.solvers import MonotoneMap, Relu
        >>> w, q = torch.tensor([[-30.0]]), torch.ones(4, 1)
        >>> f, z0 = MonotoneMap(Relu()), torch.zeros(4, 1)
        >>> solve = lambda solver: fixed_point(f, z0, w, q, solver=solver, on_failure="ignore")
        >>> slow = PeacemanRachford(rtol=1e-3, max_steps=1000)
        >>> fast = tuned(slow, solve)
        >>> fast.alpha < 1, solve(fast).evaluations < solve(slow).evaluations
        (True, True)
    """
    check_kind("solver", solver, PeacemanRachford, DouglasRachford, example="PeacemanRachford()")
    check_count("halvings", halvings, least=0)
    best, least = replace(solver, alpha=start), None
    for k in range(halvings + 1):
        candidate = replace(solver, alpha=start / 2**k)
        found = solve(candidate)
        cost = (int((~found.converged).sum()), found.evaluations)
        if least is None or cost < least:
            best, least = candidate, cost
        elif cost > least:
            break
    return best
