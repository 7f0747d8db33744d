"""Training steps and solves of this checkout beside those of another, taken in turns.

    python -m benchmarks.before_after OTHER [--workloads b,e,g] [--repeats 25] [--threads 1]

OTHER is a folder with another version of deqlab (`git worktree add ../other COMMIT`). Each runs in
a process of its own, by the benchmarks of this checkout, and waits while the other works, so that
both see the same machine. A ratio above 1 says that this checkout is slower. Whatever fails in one
of the two is named and left out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch

from benchmarks import gold, results
from benchmarks.contenders import SOLVERS
from benchmarks.steps import SETTINGS, Bench, deqlab_solve
from benchmarks.timing import median_ratio
from benchmarks.workloads import workloads
from deqlab import fixed_point

HERE = Path(__file__).parents[1]

FORWARD = ("Picard", "Anderson(5)", "Auto")
TRAINING = ("defaults", "accuracy=1e-3", "Auto, accuracy=2e-3", "Picard 1e-2, 7 steps unrolled")

COLUMNS = {
    "workload": "",
    "name": "",
    "milliseconds": ".2f",
    "this/other": ".3f",
    "evaluations": "d",
    "evaluations_there": "d",
    "products": "d",
    "products_there": "d",
    "error": ".1e",
    "error_there": ".1e",
}

Row = dict[str, Any]


class Side:
    """One checkout, in a process that does as it is told."""

    def __init__(self, folder: Path, threads: int) -> None:
        path = os.pathsep.join([str(folder / "src"), str(HERE)])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.before_after", "--worker", str(threads)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )

    def ask(self, *words: str) -> Row:
        """Have something done, and return what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {words} ended: {self.process.wait()}")
        found: Row = json.loads(answer)
        return found


def work(threads: int) -> None:
    """Do what the lines of the input say, and answer each by a line."""
    torch.set_num_threads(threads)
    run: Callable[[], object] = float
    for line in sys.stdin:
        match json.loads(line):
            case ["make", kind, workload, name]:
                try:
                    run, answer = made(kind, workload, name)
                except Exception as error:  # a failure is a result
                    answer = {"failure": results.sentence(error)}
            case _:
                start = time.perf_counter()
                run()
                answer = {"seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


def made(kind: str, key: str, name: str) -> tuple[Callable[[], object], Row]:
    """Return what is to be timed, run once, with its counts and its true error."""
    (workload,) = workloads(key)
    if kind == "training":
        bench, solve = Bench.of(workload), deqlab_solve(*SETTINGS[f"deqlab, {name}"])
        counts = bench.measure(solve)
        found = {each: counts[each] for each in ("evaluations", "products")}
        return lambda: bench.step(solve), found | {"error": counts["gradient_error"]}

    f, solver = workload.map(), SOLVERS[name]

    @torch.no_grad()
    def forward() -> Any:  # noqa: ANN401
        return fixed_point(f, workload.z0, solver=solver, on_failure="ignore")

    solution = forward()
    return forward, {
        "evaluations": solution.evaluations,
        "products": solution.products,
        "error": gold.solve(workload, gradients=False).error(solution.value),
    }


def row_of(sides: tuple[Side, Side], kind: str, key: str, name: str, repeats: int) -> Row:
    """Return what both take for one thing."""
    here, there = (side.ask("make", kind, key, name) for side in sides)
    row: Row = {"workload": key, "name": f"{kind}: {name}"}
    for found in (here, there):
        if "failure" in found:
            return row | found
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 2):
        for side, taken in zip(sides, times, strict=True):
            seconds = side.ask("run")["seconds"]
            if turn >= 2:  # the first ones warm up
                taken.append(seconds)
    return row | {
        "milliseconds": 1e3 * median(times[0]),
        "milliseconds_there": 1e3 * median(times[1]),
        "this/other": median_ratio(*times),
        **here,
        **{f"{field}_there": found for field, found in there.items()},
    }


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(int(sys.argv[2]))
        return
    parser = results.parser(__doc__, repeats=25)
    parser.add_argument("other", type=Path, help="a folder with another version")
    options = parser.parse_args()
    environment = results.start("python -m benchmarks.before_after", options)
    git = ["git", "-C", str(options.other), "rev-parse", "--short", "HEAD"]
    other = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    sides = Side(HERE, options.threads), Side(options.other.resolve(), options.threads)
    things = [("forward", name) for name in FORWARD] + [("training", name) for name in TRAINING]
    rows = []
    for key in results.letters(options.workloads):
        for kind, name in things:
            with results.console.status(f"{key}, {kind}: {name}"):
                rows.append(row_of(sides, kind, key, name, options.repeats))
    results.show(f"This checkout beside {other}", COLUMNS, rows)
    ratios = [row["this/other"] for row in rows if "this/other" in row]
    if ratios:
        mean = geometric_mean(ratios)
        results.console.print(f"Geometric mean of {len(ratios)} ratios: {mean:.3f}")
    content = {"environment": environment, "other": other, "rows": rows}
    results.save("before-after", options, content)


if __name__ == "__main__":
    main()
