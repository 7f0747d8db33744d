"""The alpha of the splitting methods of a layer, tuned on a batch."""

from dataclasses import replace
from typing import Any

import torch

from deqlab.arguments import check_kind
from deqlab.gradients.implicit import Implicit
from deqlab.nn.deq import DEQ
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.solvers.splitting import DouglasRachford, PeacemanRachford
from deqlab.solvers.tuning import tuned


def tune_alpha(deq: DEQ[Any], *inputs: Any, **keywords: Any) -> float:  # noqa: ANN401
    """Give the layer's splitting method the alpha that solves these inputs in fewest evaluations.

    `Implicit(solver=...)` with a splitting method gets the same alpha, for the adjoint equation has
    the same resolvent. Call it once or twice an epoch: it takes a few solves, of which neither
    `last` nor the observers are told.

    Returns:
        The alpha.

    Raises:
        TypeError: The solver of the layer is none that has a free alpha.

    Example:
        >>> import torch
        >>> from deqlab.nn import MonotoneCell
        >>> deq = DEQ(MonotoneCell(3, 8, gain=3.0), solver=PeacemanRachford())
        >>> tune_alpha(deq, torch.randn(4, 3)) == deq.solver.alpha
        True
    """
    solver, last, observers, on_failure = deq.solver, deq.last, deq.observers, deq.on_failure
    check_kind("solver", solver, PeacemanRachford, DouglasRachford, example="PeacemanRachford()")
    assert isinstance(solver, PeacemanRachford | DouglasRachford)
    deq.observers, deq.on_failure = [], "ignore"

    def solve(candidate: Solver[Any]) -> Solution[Any]:
        deq.solver = candidate
        return deq.solve(*inputs, **keywords)

    try:
        with torch.no_grad():
            solver = tuned(solver, solve)
    finally:
        deq.solver, deq.last, deq.observers, deq.on_failure = solver, last, observers, on_failure
    alpha, gradient = solver.alpha, deq.gradient
    if isinstance(gradient, Implicit):
        backward = gradient.solver
        if isinstance(backward, PeacemanRachford | DouglasRachford):
            deq.gradient = replace(gradient, solver=replace(backward, alpha=alpha))
    return alpha
