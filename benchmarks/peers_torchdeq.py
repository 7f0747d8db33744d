"""The forward solvers of torchdeq, through its `get_deq`.

Its stop is global: every row iterates until the worst is within the tolerance. It measures the
residual at x and returns f(x), or for Broyden x, of least measured residual for each row; a solve
that misses its tolerance is returned like any other.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torchdeq import get_deq
from torchdeq.solver import get_solver

from benchmarks.contenders import RTOL, Answer, Case, Contender
from benchmarks.gold import Gold
from benchmarks.timing import Counted
from benchmarks.workloads import Workload

SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "torchdeq fixed_point_iter": ("fixed_point_iter", {}),
    "torchdeq anderson": ("anderson", {}),  # m = 6
    "torchdeq anderson, m=5": ("anderson", {"m": 5}),
    "torchdeq broyden": ("broyden", {}),
}

FEW, MANY = 50, 300
"""Limits on its iterations: the usual one, and a generous one for solves that reach the first."""

FIRST = {"fixed_point_iter": 1, "anderson": 3, "broyden": 2}
"""Evaluations of f after which each could first return."""


def contender(name: str) -> Contender:
    """Return one solver of torchdeq."""
    solver, settings = SOLVERS[name]

    def cases(workload: Workload, gold: Gold) -> list[Case]:
        point = gold.z.float()
        f = workload.map()
        made: list[Case] = []
        for limit in (FEW, MANY):
            deq = get_deq(f_solver=solver, f_tol=RTOL, f_stop_mode="rel", f_max_iter=limit).eval()
            answer = _answer(deq, f, workload.z0, settings)
            made.append(
                Case(
                    name=name if limit == FEW else f"{name}, {MANY} steps",
                    solve=lambda deq=deq: deq(f, workload.z0, solver_kwargs=settings),
                    bare=lambda: f(point),
                    answer=lambda answer=answer: answer,
                    iterates=lambda: _iterates(solver, f, workload.z0, settings),
                )
            )
            if answer.evaluations < limit:
                break
        return made

    return cases


def _answer(
    deq: Callable[..., Any], f: Callable[[Tensor], Tensor], z0: Tensor, settings: dict[str, Any]
) -> Answer:
    counted = Counted(f)
    (value,), info = deq(counted, z0, solver_kwargs=settings)
    reached = bool((info["rel_lowest"] < RTOL).all())
    verdict = "stopped" if reached else "missed, returned all the same"
    return Answer(value=value, evaluations=counted.evaluations, verdict=verdict)


def _iterates(
    solver: str, f: Callable[[Tensor], Tensor], z0: Tensor, settings: dict[str, Any]
) -> Iterator[tuple[int, Tensor]]:
    """Yield what a lower limit on the iterations would have returned, up to `MANY`."""
    seen = 0
    for limit in (FEW, MANY):
        counted = Counted(f)
        _, values, _ = get_solver(solver)(
            counted,
            z0,
            max_iter=limit,
            tol=0.0,
            stop_mode="rel",
            indexing=list(range(1, limit + 2)),
            **settings,
        )
        first = FIRST[solver]
        assert counted.evaluations == first + len(values) - 1
        yield from list(enumerate(values, start=first))[seen:]
        seen = len(values)
