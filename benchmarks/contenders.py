"""What a forward solve is, whoever makes it; and deqlab's.

To measure another solver of deqlab, add a line to `SOLVERS`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.gold import Gold
from benchmarks.timing import Counted
from benchmarks.workloads import Workload
from deqlab import Solution, Status, fixed_point
from deqlab.solvers import Anderson, Auto, Broyden, NewtonKrylov, Picard, Solver

RTOL = 1e-4
"""What every solver is asked for, in its own measure."""

SOLVERS: dict[str, Solver[Any]] = {
    "Picard": Picard(rtol=RTOL, max_steps=1000),
    "Anderson(5)": Anderson(rtol=RTOL, max_steps=200),
    "Anderson(10)": Anderson(rtol=RTOL, max_steps=200, memory=10),
    "Broyden(10)": Broyden(rtol=RTOL, max_steps=200),
    "NewtonKrylov": NewtonKrylov(rtol=RTOL),
    "Auto": Auto(rtol=RTOL, max_steps=200),
}

LEAVING = ("Picard", "Anderson(5)", "Auto")
"""Solvers that are measured with rows that leave the batch, too."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a solver returned.

    Attributes:
        value: The fixed point it found, as a torch tensor.
        evaluations: Calls of f.
        products: Products with the Jacobian of f that the solver took beside.
        rows: Rows of z in all these calls; None for all of them in each.
        verdict: What the solver says of it.
    """

    value: Tensor
    evaluations: int
    products: int = 0
    rows: int | None = None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One solver on one workload.

    Attributes:
        name: For the table.
        solve: What is timed.
        bare: One evaluation of f, in the same framework.
        answer: The same solve, untimed and with f counted.
        iterates: What would be returned after so many evaluations, in increasing order.
    """

    name: str
    solve: Callable[[], object]
    bare: Callable[[], object]
    answer: Callable[[], Answer]
    iterates: Callable[[], Iterable[tuple[int, Tensor]]]


Contender = Callable[[Workload, Gold], list[Case]]
"""The cases of one solver on one workload: none if it cannot run there."""


def deqlab_contender(name: str, solver: Solver[Any], *, leaving: bool = False) -> Contender:
    """Return one solver of deqlab, as `fixed_point` calls it; finished rows may leave the batch."""

    def cases(workload: Workload, gold: Gold) -> list[Case]:
        f, z0, arguments = workload.map(), workload.z0, workload.arguments()

        def run(f: Callable[..., Tensor], solver: Solver[Any] = solver) -> Solution:
            return fixed_point(
                f,
                z0,
                *arguments,
                solver=solver,
                on_failure="ignore",
                rows_independent=workload.rowwise() if leaving else False,
            )

        def answer(solver: Solver[Any] = solver) -> Answer:
            counted = Counted(workload.cell)
            solution = run(counted, solver)
            assert isinstance(solution.value, Tensor)
            codes = sorted(set(solution.status.tolist()))
            return Answer(
                value=solution.value,
                evaluations=counted.evaluations,
                products=solution.products,
                rows=counted.rows,
                verdict="/".join(Status(code).name for code in codes),
            )

        def iterates() -> Iterator[tuple[int, Tensor]]:
            # The value is an iterate whose residual was computed, so that the first run does it
            # unless rounding or a verdict stands in its way.
            for fraction in (1.0, 0.5, 0.2, 0.05):
                found = answer(tightened(solver, fraction))
                yield found.evaluations, found.value

        point = gold.z.float()
        return [
            Case(
                name=name,
                solve=lambda: run(workload.cell),
                bare=lambda: f(point),
                answer=answer,
                iterates=iterates,
            )
        ]

    return cases


def tightened(solver: Solver[Any], fraction: float) -> Solver[Any]:
    """Return the solver with a fraction of its tolerance."""
    return replace(solver, rtol=fraction * solver.rtol)


def first_within(
    f: Callable[[Tensor], Tensor], iterates: Iterable[tuple[int, Tensor]], rtol: float
) -> int | None:
    """Return the evaluations after which |f(z) - z| <= rtol |f(z)| in every row; None if never."""
    for evaluations, z in iterates:
        fz = f(z)
        residuals = torch.linalg.vector_norm((fz - z).flatten(1), dim=1)
        sizes = torch.linalg.vector_norm(fz.flatten(1), dim=1)
        # Computed in float32 here: half a percent allows for its rounding.
        if bool((residuals <= 1.005 * rtol * sizes).all()):
            return evaluations
    return None
