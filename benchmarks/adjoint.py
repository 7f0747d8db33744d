"""Products of the adjoint: what could save some, and what a start from the last step does.

    python -m benchmarks.adjoint [--threads 1] [--repeats 160] [--workloads a,b] [--out FOLDER]

Two tables. The first has the ideas of `adjoint_ideas`, in products until the true error of every
row's v is within 1e-2 and 1e-3: on the workloads, and on equations that come up while recipes
train. The second trains the same network twice, with and without `Implicit(warm_start=...)`, a
step of one after a step of the other: products in the mean, and the median ratio of the times.
"""

import time
from collections.abc import Iterator
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from benchmarks import results
from benchmarks.adjoint_ideas import IDEAS, Known, products_to, true_v
from benchmarks.adjoint_runs import AGAIN, RTOL, RUNS, STEPS, Training
from benchmarks.timing import median_ratio
from benchmarks.workloads import Workload, workloads
from deqlab.linalg.products import Product, vjp
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden import Broyden

ACCURACIES = (1e-2, 1e-3)
"""Relative errors of v, in every row."""

COUNTS = tuple(f"to {accuracy:g}" for accuracy in ACCURACIES)

EVERY, LOOKS = 20, 4
"""Steps of a training from one equation that is looked at to the next, and how many are."""

IDEA_COLUMNS = {"on": "", "solver": "", "idea": "", **dict.fromkeys(COUNTS, ".1f")}

WARM_COLUMNS = {
    "on": "",
    "products_cold": ".2f",
    "products_warm": ".2f",
    "error_cold": ".1e",
    "error_warm": ".1e",
    "milliseconds_cold": ".2f",
    "time_warm/cold": ".2f",
    "adjoints_converged": ".3f",
}

Row = dict[str, Any]


def on_workload(workload: Workload) -> Iterator[Row]:
    """Yield the products that each idea takes on a workload, solved to the default tolerance."""
    for solver in (Anderson(max_steps=400), Broyden(max_steps=400)):
        for row in compared(*known_on(workload, solver)):
            yield {"on": f"{workload.key}: {workload.what}", "solver": type(solver).__name__} | row


def known_on(workload: Workload, solver: Solver[Any]) -> tuple[Product, Tensor, Known]:
    """Solve a workload; return v -> J'v there, u, and what the solver knows."""
    arguments, shape = workload.arguments(), workload.z0.shape
    z0, u = workload.z0.flatten(1), workload.cotangent().flatten(1)

    def f(z: Tensor) -> Tensor:
        return workload.cell(z.view(shape), *arguments).flatten(1)

    with torch.no_grad():
        solution, memory = solver.run(f, z0)
    z = solution.matrix.detach().requires_grad_()
    out = f(z)
    return vjp(out, z), u, Known(solver, memory, z.detach(), out.detach())


def in_training(name: str) -> Iterator[Row]:
    """Yield the same in the mean over equations of a training."""
    training = RUNS[name]()
    found: dict[str, list[Row]] = {}
    for step in range(1, LOOKS * EVERY + 1):
        training.backward()
        if step % EVERY == 0:
            equation = training.method.seen[0]
            memory, previous, mean = training.solver.windows[0], training.previous(), training.mean
            mean = None if mean is None else mean.expand_as(equation.u)
            known = Known(training.solver, memory, previous=previous, mean=mean)
            for row in compared(equation.product, equation.u, known, equation.needed):
                found.setdefault(row["idea"], []).append(row)
        training.update()
    for idea, rows in found.items():
        columns = {key: [row[key] for row in rows] for key in COUNTS}
        means = {key: None if None in each else fmean(each) for key, each in columns.items()}
        head = {"on": name, "solver": "Anderson", "idea": idea, "equations": len(rows)}
        yield head | means


def compared(
    product: Product, u: Tensor, known: Known, rows: Tensor | None = None
) -> Iterator[Row]:
    """Yield the products of each idea that has what it needs."""
    v = true_v(product, u)
    for name, idea in IDEAS.items():
        if (iterates := idea(product, u, known)) is not None:
            taken = products_to(ACCURACIES, iterates, v, rows)
            yield {"idea": name} | dict(zip(COUNTS, taken.values(), strict=True))


def warmly(name: str, steps: int) -> Row:
    """Train with warm starts and without, in turn, and return what a step took."""
    both = {warm: AGAIN[name](warm=warm) for warm in (False, True)}
    products: dict[bool, list[int]] = {False: [], True: []}
    seconds: dict[bool, list[float]] = {False: [], True: []}
    errors: dict[bool, list[float]] = {False: [], True: []}
    shares = []
    for step in range(steps):
        for warm in (step % 2 == 0, step % 2 == 1):
            training = both[warm]
            begun = time.perf_counter()
            training.backward()
            passed = time.perf_counter() - begun
            if step % EVERY == EVERY - 1:
                errors[warm].append(error_of(training))
            begun = time.perf_counter()
            training.update()
            seconds[warm].append(passed + time.perf_counter() - begun)
            products[warm].append(training.adjoint.products)
            shares.append(training.adjoint.converged.double().mean().item())
    row: Row = {"on": name, "steps": steps}
    for warm, name in ((False, "cold"), (True, "warm")):
        row[f"products_{name}"] = fmean(products[warm])
        row[f"error_{name}"] = fmean(errors[warm])
        row[f"milliseconds_{name}"] = 1e3 * median(seconds[warm])
    row["time_warm/cold"] = median_ratio(seconds[True], seconds[False])
    row["adjoints_converged"] = fmean(shares)
    return row


def error_of(training: Training) -> float:
    """Return the largest relative error of a row of the last v."""
    equation, found = training.method.seen[0], training.adjoint
    v = true_v(equation.product, equation.u)
    off, size = (torch.linalg.vector_norm(each, dim=1) for each in (found.matrix - v, v))
    rows = found.converged & (size > 0)
    return (off / size)[rows].max().item()


def main() -> None:
    options = results.parser(__doc__, repeats=STEPS).parse_args()
    environment = results.start("python -m benchmarks.adjoint", options)
    ideas: list[Row] = []
    for workload in workloads(results.letters(options.workloads)):
        ideas += show("ideas", IDEA_COLUMNS, on_workload(workload))
    for name in RUNS:
        ideas += show("ideas", IDEA_COLUMNS, in_training(name))
    warm = show("warm starts", WARM_COLUMNS, (warmly(name, options.repeats) for name in AGAIN))
    content = {"environment": environment, "rtol": RTOL, "ideas": ideas, "warm_starts": warm}
    results.save("adjoint", options, content)


def show(title: str, columns: dict[str, str], rows: Iterator[Row]) -> list[Row]:
    """Print rows, and return them."""
    found = list(rows)
    results.show(title, columns, found)
    return found


if __name__ == "__main__":
    main()
