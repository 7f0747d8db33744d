"""Peak memory of forward solves, in units of the state.

    python -m benchmarks.memory [--large] [--threads 1] [--out FOLDER]

Each solver runs in a process of its own, on a map whose only temporary is its result, for a fixed
number of steps, so that windows fill. What existed before (z0 and the input) does not count; the
iterate and f(z) do. Three views of the same solve:

    storages    bytes of all live torch storages at their peak, whether written to or not
    resident    how far the peak of the process's resident memory rises: pages that were touched
    python      the peak that tracemalloc sees: numpy buffers and Python objects, no tensors

With --large the state has 1e8 numbers, .4 GB, and the solvers are those for such states, with one
training step beside them: it needs about 8 GB.
"""

import json
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks import results
from benchmarks.contenders import SOLVERS
from deqlab import fixed_point
from deqlab.costs import peak_memory
from deqlab.gradients import GMRES, Implicit
from deqlab.solvers import Anderson, Broyden, Picard

SHAPE, STEPS = (64, 65536), 30
LARGE_SHAPE, LARGE_STEPS = (16, 6_250_000), 10
LARGE_SOLVERS = {
    "Picard": Picard(),
    "Anderson(3)": Anderson(memory=3),
    "Anderson(3), window in bfloat16": Anderson(memory=3, window_dtype=torch.bfloat16),
    "Anderson(8), window in bfloat16": Anderson(memory=8, window_dtype=torch.bfloat16),
    "Broyden(5)": Broyden(memory=5),
}
TRAINING = Implicit(solver=GMRES(rtol=1e-2, restart=8))
"""The gradient of the training step of a large state: its basis has 8 vectors, not 30."""

COLUMNS = {"name": "", "storages": ".1f", "resident": ".1f", "python": ".1f", "evaluations": "d"}
LEFT_OUT = ("NewtonKrylov", "Auto")
"""A tolerance of zero keeps GMRES going for minutes here; it holds restart + 3 states."""

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system counts ru_maxrss."""


def problem(shape: tuple[int, int]) -> tuple[Callable[[Tensor], Tensor], Tensor, list[Tensor]]:
    """Return f, z0, and the tensors that f holds."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng)
    slopes = torch.linspace(-0.98, 0.98, shape[1])
    return lambda z: torch.tanh(z).mul_(slopes).add_(x), torch.zeros(shape), [x, slopes]


def large_runs() -> dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], object]]:
    """Return what is measured of a large state, by name."""

    def forward(f: Callable[[Tensor], Tensor], z0: Tensor, solver: Any) -> object:  # noqa: ANN401
        endless = replace(solver, rtol=0.0, max_steps=LARGE_STEPS, patience=LARGE_STEPS + 1)
        return fixed_point(f, z0, solver=endless, on_failure="ignore")

    def step(f: Callable[[Tensor], Tensor], z0: Tensor) -> object:
        gain = torch.tensor(0.5, requires_grad=True)
        with torch.enable_grad():
            solution = fixed_point(
                lambda z: gain * torch.tanh(z) + 1,
                z0,
                solver=Anderson(memory=3, rtol=1e-2),
                gradient=TRAINING,
            )
            solution.value.square().mean().backward()
        return solution

    found = {
        name: lambda f, z0, solver=solver: forward(f, z0, solver)
        for name, solver in LARGE_SOLVERS.items()
    }
    return found | {"Anderson(3), Implicit with GMRES(restart=8)": step}


def runs() -> dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], object]]:
    """Return what is measured, by name."""
    found: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], object]] = {
        "f alone": lambda f, z0: f(z0)
    }
    for name, solver in SOLVERS.items():
        if name in LEFT_OUT:
            continue
        # A tolerance of zero is never met, so that every step is taken.
        endless = replace(solver, rtol=0.0, atol=0.0, max_steps=STEPS, patience=STEPS + 1)
        found[f"deqlab {name}"] = lambda f, z0, solver=endless: fixed_point(
            f, z0, solver=solver, on_failure="ignore"
        )
    if results.installed("torchdeq"):
        from torchdeq.solver import get_solver

        for name in ("fixed_point_iter", "anderson", "broyden"):
            found[f"torchdeq {name}"] = lambda f, z0, name=name: get_solver(name)(
                f, z0, max_iter=STEPS, tol=0.0, stop_mode="rel"
            )
    return found


def measure_here(name: str, *, large: bool) -> dict[str, Any]:
    """Measure one solver in this process; the resident peak comes first, while it is low."""
    run, evaluations = (large_runs() if large else runs())[name], 0
    small = torch.zeros(2, 64)
    run(lambda z: 0.5 * torch.tanh(z) + 1, small)  # whatever is allocated once
    f, z0, held = problem(LARGE_SHAPE if large else SHAPE)
    f(z0)

    def counted(z: Tensor) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return f(z)

    state = z0.numel() * z0.element_size()
    before = _resident()
    result = run(counted, z0)
    evaluations = evaluations or getattr(result, "evaluations", 0)
    del result
    resident = _resident() - before
    existing = sum(tensor.untyped_storage().nbytes() for tensor in (*held, z0))
    storages = peak_memory(lambda: run(f, z0), [*held, z0]) - existing
    tracemalloc.start()
    run(f, z0)
    python = tracemalloc.get_traced_memory()[1]
    return {
        "name": name,
        "storages": storages / state,
        # The evaluation before the baseline has touched one state that was free again.
        "resident": resident / state + 1,
        "python": python / state,
        "evaluations": evaluations,
    }


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def measure(name: str, threads: int, *, large: bool) -> dict[str, Any]:
    """Measure one solver in a fresh process."""
    # Large blocks go back to the system at once: what is free does not count as resident.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    command = [sys.executable, "-m", "benchmarks.memory", "--threads", str(threads), "--one", name]
    command += ["--large"] if large else []
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"name": name, "failure": done.stderr.strip().splitlines()[-1]}
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def main() -> None:
    parser = results.parser(__doc__, repeats=1)
    parser.add_argument("--one", help="measure this one here and print it as JSON")
    parser.add_argument("--large", action="store_true", help="a state of 1e8 numbers")
    options = parser.parse_args()
    with torch.no_grad():
        if options.one is not None:
            torch.set_num_threads(options.threads)
            sys.stdout.write(json.dumps(measure_here(options.one, large=options.large)))
            return
        environment = results.start("python -m benchmarks.memory", options)
        rows = []
        for name in large_runs() if options.large else runs():
            with results.console.status(name):
                rows.append(measure(name, options.threads, large=options.large))
    shape, steps = (LARGE_SHAPE, LARGE_STEPS) if options.large else (SHAPE, STEPS)
    results.show(f"Peak memory in states of {shape[0]} x {shape[1]}, {steps} steps", COLUMNS, rows)
    content = {"environment": environment, "shape": shape, "steps": steps, "rows": rows}
    results.save("large" if options.large else "memory", options, content)


if __name__ == "__main__":
    main()
