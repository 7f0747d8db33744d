"""Time, evaluations and true error of forward solves: deqlab beside its peers.

    python -m benchmarks.forward [--threads 1] [--repeats 15] [--workloads a,b] [--out FOLDER]

README.md in this folder says what the columns mean.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from benchmarks import gold, results
from benchmarks.contenders import (
    LEAVING,
    RTOL,
    SOLVERS,
    Case,
    Contender,
    deqlab_contender,
    first_within,
)
from benchmarks.timing import interleaved, median_ratio, repeated
from benchmarks.workloads import Workload, workloads

COLUMNS = {
    "name": "",
    "evaluations": "d",
    "products": "d",
    "share_of_rows": ".2f",
    "to_true_1e-4": "d",
    "true_residual": ".1e",
    "true_error": ".1e",
    "milliseconds": ".2f",
    "times_bare_f": ".2f",
    "verdict": "",
}


def contenders(threads: int) -> dict[str, Contender]:
    """Return every solver that is installed, by name."""
    found = {
        f"deqlab {name}": deqlab_contender(f"deqlab {name}", solver)
        for name, solver in SOLVERS.items()
    }
    found |= {
        f"deqlab {name}, rows leave": deqlab_contender(
            f"deqlab {name}, rows leave", SOLVERS[name], leaving=True
        )
        for name in LEAVING
    }
    if results.installed("torchdeq"):
        from benchmarks import peers_torchdeq

        found |= {name: peers_torchdeq.contender(name) for name in peers_torchdeq.SOLVERS}
    from benchmarks import peers_jax

    if threads == 1:
        peers_jax.one_thread()
    if results.installed("jaxopt"):
        for solver in ("FixedPointIteration", "AndersonAcceleration"):
            found[f"jaxopt {solver}"] = peers_jax.jaxopt_contender(solver)
    if results.installed("optimistix"):
        found["optimistix FixedPointIteration"] = peers_jax.optimistix_contender()
    return found


def describe(case: Case, workload: Workload, truth: gold.Gold) -> dict[str, Any]:
    """Return what is known of a case before it is timed."""
    answer = case.answer()
    whole = answer.evaluations * len(workload.z0)
    return {
        "workload": workload.key,
        "what": workload.what,
        "name": case.name,
        "evaluations": answer.evaluations,
        "products": answer.products,
        "share_of_rows": 1.0 if answer.rows is None else answer.rows / whole,
        "to_true_1e-4": first_within(workload.map(), case.iterates(), RTOL),
        "true_residual": gold.residual(workload, answer.value),
        "true_error": truth.error(answer.value),
        "verdict": answer.verdict,
    }


def measure(
    workload: Workload, entrants: dict[str, Contender], repeats: int
) -> list[dict[str, Any]]:
    """Return one row per case, failures included."""
    truth = gold.solve(workload, gradients=False)
    rows, cases = [], {}
    for name, contender in entrants.items():
        try:
            for case in contender(workload, truth):
                rows.append(describe(case, workload, truth))
                cases[case.name] = case
        except Exception as error:  # a failure is a result
            rows.append(
                {"workload": workload.key, "name": name, "failure": results.sentence(error)}
            )
    _time(rows, cases, repeats)
    return rows


def _time(rows: Sequence[dict[str, Any]], cases: dict[str, Case], repeats: int) -> None:
    """Add the times of every case to its row."""
    runs: dict[str, Callable[[], object]] = {}
    calls = {}
    for name, case in cases.items():
        runs[f"{name}, bare f"], calls[name] = repeated(case.bare)
        runs[name] = case.solve
    times = interleaved(runs, repeats)
    for row in rows:
        name = row["name"]
        if name not in cases:
            continue
        ratio = median_ratio(times[name], times[f"{name}, bare f"])
        row["milliseconds"] = 1e3 * median(times[name])
        row["milliseconds_least"] = 1e3 * min(times[name])
        row["times_bare_f"] = ratio * calls[name] / row["evaluations"]


def main() -> None:
    options = results.parser(__doc__, repeats=15).parse_args()
    environment = results.start("python -m benchmarks.forward", options)
    entrants = contenders(options.threads)
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for workload in workloads(results.letters(options.workloads)):
            with results.console.status(f"{workload.key}: {workload.what}"):
                found = measure(workload, entrants, options.repeats)
            results.show(f"({workload.key}) {workload.what}", COLUMNS, found)
            rows += found
    results.save("forward", options, {"environment": environment, "rtol": RTOL, "rows": rows})


if __name__ == "__main__":
    main()
