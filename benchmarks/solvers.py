"""Time and true error of the solvers, on maps that are hard in different ways.

Every row carries evaluations of f and the error against a float64 solution beside the time, so
that nothing wins by stopping early, and the time as a multiple of the bare evaluations of f, which
transfers to other machines. Solvers are timed in turn, in one process; medians are reported.

    python benchmarks/solvers.py [--threads 1] [--repeats 15] [--out benchmarks/results]
"""

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from deqlab import Anderson, Picard, Status
from deqlab.experiments.environment import describe

RTOL = 1e-4
SOLVERS = {
    "Picard": Picard(rtol=RTOL, max_steps=1000),
    "Anderson(5)": Anderson(rtol=RTOL, max_steps=200),
    "Anderson(10)": Anderson(rtol=RTOL, max_steps=200, memory=10),
}


@dataclass(frozen=True)
class Problem:
    """z = tanh(s (W z) + x), row by row, in float32 and in float64."""

    what: str
    w: Tensor
    x: Tensor
    scale: Tensor

    def map(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        w, x, scale = self.w.T.to(dtype), self.x.to(dtype), self.scale.to(dtype)
        if bool((scale == 1).all()):
            return lambda z: torch.tanh(torch.addmm(x, z, w))
        return lambda z: torch.tanh(scale * (z @ w) + x)


def problems() -> list[Problem]:
    """The workloads; a random W of norm 0.9 has a spectral radius near one half, and is easy."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def random(dim: int) -> Tensor:
        w = normal(dim, dim)
        return 0.9 * w / torch.linalg.matrix_norm(w, ord=2)

    def symmetric(low: float, high: float, dim: int = 128) -> Tensor:
        basis, _ = torch.linalg.qr(normal(dim, dim))
        return (basis * torch.linspace(low, high, dim, dtype=torch.float64)) @ basis.T

    def ones(batch: int) -> Tensor:
        return torch.ones(batch, 1, dtype=torch.float64)

    mixed = torch.full((64, 1), 0.3, dtype=torch.float64)
    mixed[-4:] = 0.97
    return [
        Problem("tanh 256 x 512, |W| = .9", random(512), normal(256, 512), ones(256)),
        Problem("tanh 64 x 64, |W| = .9", random(64), normal(64, 64), ones(64)),
        Problem(
            "stiff: eigenvalues to .99", symmetric(-0.99, 0.99), 0.1 * normal(64, 128), ones(64)
        ),
        Problem("not contractive: [-3, 0]", symmetric(-3.0, 0.0), normal(64, 128), ones(64)),
        Problem("60 rows at .3, 4 at .97", symmetric(-1.0, 1.0), 0.1 * normal(64, 128), mixed),
    ]


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(problem: Problem, repeats: int) -> list[dict[str, object]]:
    """Return one row per solver."""
    exact = Anderson(rtol=1e-13, max_steps=2000, memory=10, patience=500).solve(
        problem.map(torch.float64), torch.zeros_like(problem.x)
    )
    f, z0 = problem.map(torch.float32), torch.zeros_like(problem.x, dtype=torch.float32)
    solutions = {name: solver.solve(f, z0) for name, solver in SOLVERS.items()}
    times: dict[str, list[float]] = {name: [] for name in ("f", *SOLVERS)}
    for _ in range(repeats):
        times["f"].append(seconds(lambda: [f(z0) for _ in range(10)]) / 10)
        for name, solver in SOLVERS.items():
            times[name].append(seconds(lambda solver=solver: solver.solve(f, z0)))
    rows = []
    for name, solution in solutions.items():
        error = (solution.matrix.double() - exact.matrix).norm(dim=1) / exact.matrix.norm(dim=1)
        taken = median(times[name])
        rows.append(
            {
                "problem": problem.what,
                "solver": name,
                "converged": solution.converged.double().mean().item(),
                "statuses": sorted({Status(s).name for s in solution.status.tolist()}),
                "evaluations": solution.evaluations,
                "worst_true_error": error.max().item(),
                "gold_residual": exact.residual.max().item(),
                "milliseconds": 1e3 * taken,
                "times_bare_f": taken / (solution.evaluations * median(times["f"])),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head = describe("python benchmarks/solvers.py", jobs=1) | {"threads": options.threads}
    rows = []
    for problem in problems():
        for row in measure(problem, options.repeats):
            print(
                f"{row['problem']:28} {row['solver']:12} {row['evaluations']:4} evaluations, "
                f"error {row['worst_true_error']:.1e}, {row['milliseconds']:8.2f} ms, "
                f"{row['times_bare_f']:5.2f} x bare f, {'/'.join(row['statuses'])}"
            )
            rows.append(row)
    options.out.mkdir(parents=True, exist_ok=True)
    hardware = f"{platform.machine()}-{head['cores']}cores"
    file = options.out / f"solvers_{hardware}_{datetime.date.today():%Y-%m-%d}.json"
    file.write_text(json.dumps({"environment": head, "rtol": RTOL, "rows": rows}, indent=1) + "\n")
    print(file)


if __name__ == "__main__":
    main()
