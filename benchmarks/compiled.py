"""Solves and training steps inside of torch.compile, beside the same outside.

    python -m benchmarks.compiled [--threads 1] [--repeats 15] [--workloads a,b] [--out FOLDER]
                                  [--training]

Three ways to make one call of `fixed_point`, timed in turn: outside; outside with f compiled alone;
and compiled as a whole. With --training each is followed by a backward pass, by `Implicit`, and the
error of the gradient is measured against that of float64. README.md in this folder says what the
columns mean.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import gold, results
from benchmarks.contenders import RTOL, SOLVERS
from benchmarks.timing import interleaved, median_ratio, seconds
from benchmarks.workloads import Workload, workloads
from deqlab import Implicit, Solution, fixed_point
from deqlab.solvers import Solver

NAMES = ("Picard", "Anderson(5)")

COLUMNS = {
    "name": "",
    "evaluations": "d",
    "evaluations_compiled": "d",
    "true_residual": ".1e",
    "true_residual_compiled": ".1e",
    "milliseconds": ".2f",
    "milliseconds_f_compiled": ".2f",
    "milliseconds_compiled": ".2f",
    "outside/compiled": ".2f",
    "seconds_to_compile": ".0f",
}

TRAINING = {
    "name": "",
    "evaluations": "d",
    "products": "d",
    "gradient_error": ".1e",
    "gradient_error_compiled": ".1e",
    "milliseconds": ".2f",
    "milliseconds_f_compiled": ".2f",
    "milliseconds_compiled": ".2f",
    "outside/compiled": ".2f",
    "seconds_to_compile": ".0f",
}


def ways(workload: Workload, solver: Solver[Any]) -> dict[str, Callable[[], Solution]]:
    """Return the three ways to solve a workload, by name."""
    f, z0 = workload.map(), workload.z0
    compiled_f = torch.compile(f, fullgraph=True)

    def solve(z0: torch.Tensor) -> Solution:
        return fixed_point(f, z0, solver=solver, on_failure="ignore")

    compiled_solve = torch.compile(solve, fullgraph=True)
    return {
        "outside": lambda: solve(z0),
        "f_compiled": lambda: fixed_point(compiled_f, z0, solver=solver, on_failure="ignore"),
        "compiled": lambda: compiled_solve(z0),
    }


def measure(workload: Workload, name: str, repeats: int) -> dict[str, Any]:
    """Return the row of one solver on one workload."""
    torch.compiler.reset()
    runs = ways(workload, SOLVERS[name])
    row = {"workload": workload.key, "what": workload.what, "name": name}
    to_compile = seconds(runs["compiled"])
    outside, compiled = runs["outside"](), runs["compiled"]()
    times = interleaved(runs, repeats)
    return row | {
        "evaluations": outside.evaluations,
        "evaluations_compiled": compiled.evaluations,
        "same_status": torch.equal(outside.status, compiled.status),
        "largest_difference_in_steps": int((outside.steps - compiled.steps).abs().max()),
        "true_residual": _residual(workload, outside),
        "true_residual_compiled": _residual(workload, compiled),
        "milliseconds": 1e3 * median(times["outside"]),
        "milliseconds_f_compiled": 1e3 * median(times["f_compiled"]),
        "milliseconds_compiled": 1e3 * median(times["compiled"]),
        "outside/compiled": median_ratio(times["outside"], times["compiled"]),
        "seconds_to_compile": to_compile,
    }


Step = tuple[Solution, tuple[Tensor, ...]]


def training_ways(workload: Workload, solver: Solver[Any]) -> dict[str, Callable[[], Step]]:
    """Return the three ways to make a training step, by name."""
    cell, z0, cotangent = workload.cell, workload.z0, workload.cotangent()
    arguments = workload.arguments(trainable=True)
    trained = [argument for argument in arguments if argument.requires_grad]
    gradient, compiled_cell = Implicit(), torch.compile(cell, fullgraph=True)

    def solve_with(cell: Callable[..., Tensor]) -> Callable[..., Solution]:
        def solve(z0: Tensor, *arguments: Tensor) -> Solution:
            options: dict[str, Any] = {"solver": solver, "gradient": gradient}
            return fixed_point(cell, z0, *arguments, **options, on_failure="ignore")

        return solve

    def step(solve: Callable[..., Solution]) -> Callable[[], Step]:
        def run() -> Step:
            solution = solve(z0, *arguments)
            return solution, torch.autograd.grad(solution.value, trained, cotangent)

        return run

    return {
        "outside": step(solve_with(cell)),
        "f_compiled": step(solve_with(compiled_cell)),
        "compiled": step(torch.compile(solve_with(cell), fullgraph=True)),
    }


def measure_training(workload: Workload, name: str, repeats: int) -> dict[str, Any]:
    """Return the row of the training steps by one solver on one workload."""
    torch.compiler.reset()
    runs = training_ways(workload, SOLVERS[name])
    row = {"workload": workload.key, "what": workload.what, "name": f"{name}, training"}
    to_compile = seconds(runs["compiled"])
    (outside, gradients), (compiled, found) = runs["outside"](), runs["compiled"]()
    exact = gold.solve(workload, gradients=True)
    times = interleaved(runs, repeats)
    return row | {
        "evaluations": outside.evaluations,
        "evaluations_compiled": compiled.evaluations,
        "products": outside.adjoint[0].products,
        "same_status": torch.equal(outside.status, compiled.status),
        "gradient_error": exact.gradient_error(gradients),
        "gradient_error_compiled": exact.gradient_error(found),
        "largest_relative_difference_of_gradients": max(
            float((one - other).norm() / other.norm())
            for one, other in zip(found, gradients, strict=True)
        ),
        "milliseconds": 1e3 * median(times["outside"]),
        "milliseconds_f_compiled": 1e3 * median(times["f_compiled"]),
        "milliseconds_compiled": 1e3 * median(times["compiled"]),
        "outside/compiled": median_ratio(times["outside"], times["compiled"]),
        "seconds_to_compile": to_compile,
    }


def _residual(workload: Workload, solution: Solution) -> float:
    assert isinstance(solution.value, torch.Tensor)
    return gold.residual(workload, solution.value)


def main() -> None:
    parser = results.parser(__doc__, repeats=15)
    parser.set_defaults(workloads="a,b,c,d,e,g")
    parser.add_argument("--training", action="store_true", help="time training steps")
    options = parser.parse_args()
    measured, columns = (measure_training, TRAINING) if options.training else (measure, COLUMNS)
    environment = results.start("python -m benchmarks.compiled", options)
    # What an earlier run has left on the disk would hide the price.
    torch._inductor.config.force_disable_caches = True
    rows: list[dict[str, Any]] = []
    with torch.set_grad_enabled(options.training):
        for workload in workloads(results.letters(options.workloads)):
            found = []
            for name in NAMES:
                with results.console.status(f"{workload.key}: {workload.what}, {name}"):
                    found.append(measured(workload, name, options.repeats))
            results.show(f"({workload.key}) {workload.what}", columns, found)
            rows += found
    kind = "compiled_training" if options.training else "compiled"
    results.save(kind, options, {"environment": environment, "rtol": RTOL, "rows": rows})


if __name__ == "__main__":
    main()
