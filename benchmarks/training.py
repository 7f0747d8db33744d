"""Time of a training step at equal accuracy of its gradient: deqlab beside torchdeq.

    python -m benchmarks.training [--threads 1] [--repeats 9] [--workloads a,b] [--out FOLDER]

README.md in this folder says how the fastest setting of torchdeq is found.
"""

from statistics import geometric_mean, median
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.steps import ACCURACY, SETTINGS, STRICT, Bench, Solve, deqlab_solve
from benchmarks.timing import interleaved, median_ratio
from benchmarks.workloads import Workload, workloads

COLUMNS = {
    "name": "",
    "milliseconds": ".2f",
    "torchdeq/this": ".2f",
    "times_plain_step": ".1f",
    "evaluations": "d",
    "products": "d",
    "gradient_error": ".1e",
    "worst_row_of_dx": ".1e",
    "within": "",
}

COARSE_REPEATS = 3
COARSE, FINE = 5, 3
"""Settings of torchdeq that are timed coarsely, of each kind of gradient; of these, finely."""
SLOW = 2.5
"""A setting that takes this many times the fastest, both timed once, is not timed again."""

PLAIN = "plain step"

Row = dict[str, Any]


def deqlab_rows(bench: Bench) -> tuple[list[Row], dict[str, Solve]]:
    """Return what deqlab's settings reach, and their solves, by name."""
    rows, solves = [], {}
    for name, (solver, gradient) in SETTINGS.items():
        solve = deqlab_solve(solver, gradient)
        try:
            rows.append({"name": name} | bench.measure(solve))
            solves[name] = solve
        except Exception as error:  # a failure is a result
            rows.append({"name": name, "failure": results.sentence(error)})
    return rows, solves


def torchdeq_rows(bench: Bench) -> tuple[list[Row], list[Row], str]:
    """Return the rows to time finely, every row that was measured, and a sentence about both."""
    if not results.installed("torchdeq"):
        return [], [], "torchdeq is not installed"
    from benchmarks.peers_training import screen

    measured = list(screen(bench))
    finished = [row for row in measured if "failure" not in row]
    within = [row for row in finished if row["within"]]
    failed = len(measured) - len(finished)
    sentence = (
        f"torchdeq: {len(within)} of {len(measured)} settings come within {ACCURACY:g}"
        f"{f', {failed} raise an error' if failed else ''}"
    )
    if within:
        return _fastest(bench, within), measured, f"{sentence}."
    # nan <= nan is false: a gradient that is nan is the farthest of all.
    nearest = sorted(
        finished, key=lambda row: float(np.nan_to_num(row["gradient_error"], nan=np.inf))
    )
    return nearest[:1], measured, f"{sentence}; the nearest is shown."


def _fastest(bench: Bench, rows: list[Row]) -> list[Row]:
    """Return the fastest of the rows by a coarse timing: overall, and with an implicit gradient."""
    rows = sorted(rows, key=lambda row: row["seconds_once"])
    rows = [row for row in rows if row["seconds_once"] <= SLOW * rows[0]["seconds_once"]]
    implicit = [row for row in rows if row["implicit"]]
    chosen = {row["name"]: row for row in (*rows[:COARSE], *implicit[:COARSE])}
    runs = {name: _run(bench, row["setting"].solve()) for name, row in chosen.items()}
    times = interleaved(runs, COARSE_REPEATS, warm=False)
    names = sorted(chosen, key=lambda name: median(times[name]))
    exact = [name for name in names if chosen[name]["implicit"]]
    return [chosen[name] for name in dict.fromkeys((*names[:FINE], *exact[:1]))]


def headline(rows: list[Row]) -> Row | None:
    """Return the fastest setting of deqlab whose gradient is within `STRICT`."""
    ours = [
        row for row in rows if row["name"] in SETTINGS and row.get("gradient_error", 1.0) <= STRICT
    ]
    return min(ours, key=lambda row: row["milliseconds"], default=None)


def _run(bench: Bench, solve: Solve) -> Any:  # noqa: ANN401
    return lambda: bench.step(solve)


def measure(workload: Workload, repeats: int) -> tuple[list[Row], list[Row], str]:
    """Return the rows of the table, all settings that were measured, and a sentence."""
    bench = Bench.of(workload)
    bench.plain()  # whatever torch does once
    rows, solves = deqlab_rows(bench)
    best, measured, sentence = torchdeq_rows(bench)
    runs = {name: _run(bench, solve) for name, solve in solves.items()}
    runs |= {row["name"]: _run(bench, row["setting"].solve()) for row in best}
    times = interleaved({PLAIN: bench.plain, **runs}, repeats)
    # The fastest of those that are accurate; where none is there is no ratio to give.
    accurate = [row["name"] for row in best if row["within"]]
    rival = min(accurate, key=lambda name: median(times[name]), default=None)
    rows += best
    for row in rows:
        if (name := row["name"]) not in runs:
            continue
        row["milliseconds"] = 1e3 * median(times[name])
        row["milliseconds_least"] = 1e3 * min(times[name])
        row["times_plain_step"] = median_ratio(times[name], times[PLAIN])
        row["torchdeq/this"] = rival and median_ratio(times[rival], times[name])
    head = {"workload": workload.key, "what": workload.what}
    return [head | _plain(row) for row in rows], [head | _plain(row) for row in measured], sentence


def _plain(row: Row) -> Row:
    """Return a row without what JSON cannot hold."""
    return {key: value for key, value in row.items() if key != "setting"}


def main() -> None:
    options = results.parser(__doc__, repeats=9).parse_args()
    environment = results.start("python -m benchmarks.training", options)
    rows: list[Row] = []
    screened: list[Row] = []
    sentences = {}
    ratios: dict[str, float] = {}
    for workload in workloads(results.letters(options.workloads)):
        with results.console.status(f"{workload.key}: {workload.what}"):
            found, measured, sentences[workload.key] = measure(workload, options.repeats)
        results.show(f"({workload.key}) {workload.what}", COLUMNS, found)
        results.console.print(f"{sentences[workload.key]}")
        best = headline(found)
        if best is not None and best["torchdeq/this"]:
            ratios[workload.key] = best["torchdeq/this"]
            results.console.print(
                f"Fastest within {STRICT:g}: {best['name']}, {best['torchdeq/this']:.2f} times as "
                "fast as torchdeq's."
            )
        results.console.print()
        rows += found
        screened += measured
    content = {
        "environment": environment,
        "accuracy": ACCURACY,
        "sentences": sentences,
        "fastest_within": STRICT,
        "torchdeq/fastest": ratios,
        "geometric_mean": geometric_mean(ratios.values()) if ratios else None,
        "rows": rows,
        "screened": screened,
    }
    results.save("training", options, content)


if __name__ == "__main__":
    main()
