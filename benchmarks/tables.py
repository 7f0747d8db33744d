"""The tables of the docs, from the results under `benchmarks/results`.

    python -m benchmarks.tables [--threads 1]

Prints Markdown: how long each solver takes over `Auto`, how each gradient does beside torchdeq, and
what could save products of the adjoint.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.contenders import SOLVERS

RESULTS = Path(__file__).parent / "results"


GRADIENTS = (
    "defaults",
    "accuracy=1e-3",
    "Auto, accuracy=1e-3",
    "Auto, accuracy=2e-3",
    "Picard 1e-2, 10 steps unrolled",
)

WHAT = {
    "a": "tanh, 256 x 512, contracts well",
    "b": "the same, 64 x 64",
    "c": "residual convolution",
    "d": "transformer block",
    "e": "stiff: eigenvalues to .99",
    "f": "eigenvalues in [-3, 0]",
    "g": "4 rows of 64 at .97",
    "h": "1 row of 256 at .999",
}

USES = ("preconditioner", "start")
"""What the inverse of the forward solve may be to the adjoint."""

STARTS = ("v of last step", "its best multiple", "its span", "mean v, best multiple")
"""The ideas of `adjoint_ideas` that know an earlier v."""

NEAR = 1.005e-4
"""A true residual that counts as 1e-4: the solvers judge in float32."""

Row = dict[str, Any]


def rows_of(what: str, threads: int) -> list[Row]:
    """Return the rows of all results of one benchmark with so many threads."""
    rows: list[Row] = []
    for path in sorted(RESULTS.glob(f"{what}_*_{threads}threads_*.json")):
        rows += json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if "milliseconds" in row]


def of_workload(rows: list[Row], key: str) -> dict[str, Row]:
    """Return the rows of one workload, by name."""
    return {row["name"]: row for row in rows if row["workload"] == key}


def solver_table(rows: list[Row]) -> list[list[str]]:
    """Return evaluations (+ products) and time over that of Auto, a workload a line."""
    table = [["workload", *SOLVERS, "torchdeq 0.1.0, best"]]
    for key, what in WHAT.items():
        found = of_workload(rows, key)
        if not found:
            continue
        auto = found["deqlab Auto"]["milliseconds"]
        cells = [_solved(found[f"deqlab {name}"], auto) for name in SOLVERS]
        peers = [
            row
            for name, row in found.items()
            if name.startswith("torchdeq") and row["true_residual"] <= NEAR
        ]
        best = min(peers, key=lambda row: row["milliseconds"], default=None)
        name = best and best["name"].removeprefix("torchdeq ")
        cells.append(f"{_solved(best, auto)} ({name})" if best else "fails")
        table.append([f"{key}: {what}", *cells])
    return table


def _solved(row: Row, unit: float) -> str:
    if row["true_residual"] > NEAR:
        return "fails"
    products = f" + {row['products']}" if row["products"] else ""
    return f"{row['evaluations']}{products}, {row['milliseconds'] / unit:.1f}"


def leaving_table(rows: list[Row]) -> list[list[str]]:
    """Return the share of rows and of time that is left where rows leave the batch."""
    names = [
        name.removesuffix(", rows leave")
        for name in of_workload(rows, "g")
        if name.endswith(", rows leave")
    ]
    table = [["workload", *(name.removeprefix("deqlab ") for name in names)]]
    for key in ("g", "h"):
        found = of_workload(rows, key)
        cells = []
        for name in names:
            apart, whole = found[f"{name}, rows leave"], found[name]
            time = apart["milliseconds"] / whole["milliseconds"]
            cells.append(f"{100 * apart['share_of_rows']:.0f} %, {time:.2f}")
        table.append([f"{key}: {WHAT[key]}", *cells])
    return table


def gradient_table(rows: list[Row]) -> list[list[str]]:
    """Return true error and speed over torchdeq's fastest setting, a workload a line."""
    table = [["workload", *GRADIENTS, "torchdeq 0.1.0, its error"]]
    for key, what in WHAT.items():
        found = of_workload(rows, key)
        if not found:
            continue
        cells = []
        for name in GRADIENTS:
            row = found[f"deqlab, {name}"]
            cells.append(f"{row['gradient_error']:.0e}, {row['torchdeq/this']:.1f}")
        rival = min(
            (row for name, row in found.items() if name.startswith("torchdeq")),
            key=lambda row: row["milliseconds"],
        )
        table.append([f"{key}: {what}", *cells, f"{rival['gradient_error']:.0e}"])
    return table


def inverse_table(rows: list[Row]) -> list[list[str]]:
    """Return products of the adjoint by what the forward solve knew, a workload a line."""
    kinds = [
        ("Anderson", "nothing"),
        *((s, f"inverse as {use}") for use in USES for s in ("Anderson", "Broyden")),
    ]
    heads = ["nothing", *(f"inverse of {s}, {idea[11:]}" for s, idea in kinds[1:])]
    table = [["products to an error of 1e-2, 1e-3", *heads]]
    for on in dict.fromkeys(row["on"] for row in rows):
        found = {(row["solver"], row["idea"]): row for row in rows if row["on"] == on}
        table.append([on, *(_products(found.get(kind)) for kind in kinds)])
    return table


def start_table(rows: list[Row]) -> list[list[str]]:
    """Return products of the adjoint by the start that an earlier v makes, a training a line."""
    ideas = ("nothing", *STARTS)
    table = [["products to an error of 1e-2, 1e-3", *ideas]]
    for on in dict.fromkeys(row["on"] for row in rows if row["idea"] in STARTS):
        found = {row["idea"]: row for row in rows if row["on"] == on}
        table.append([on, *(_products(found.get(idea)) for idea in ideas)])
    return table


def warm_table(rows: list[Row]) -> list[list[str]]:
    """Return what steps of training took without a warm start and with one."""
    table = [["training", "products", "with warm_start", "error of v", "with", "time with/without"]]
    for row in rows:
        cells = [row["on"], *(f"{row[f'products_{name}']:.1f}" for name in ("cold", "warm"))]
        cells += [f"{row[f'error_{name}']:.1e}" for name in ("cold", "warm")]
        table.append([*cells, f"{row['time_warm/cold']:.2f}"])
    return table


def times_table(rows: list[Row]) -> list[list[str]]:
    """Return what a preconditioned adjoint takes beside a plain one, a workload a line."""
    table = [["workload", "products", "preconditioned", "time over plain"]]
    keys = {"products": "d", "products_preconditioned": "d", "time_preconditioned/plain": ".2f"}
    for row in rows:
        table.append([row["workload"], *(format(row[key], form) for key, form in keys.items())])
    return table


def _products(row: Row | None) -> str:
    if row is None:
        return ""
    counts = [row[key] for key in ("to 0.01", "to 0.001")]
    return ", ".join("over 40" if count is None else f"{count:.3g}" for count in counts)


def markdown(table: list[list[str]]) -> str:
    """Return a table in Markdown; its first line is the head."""
    head, *lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *lines])


def adjoint_tables() -> list[list[list[str]]]:
    """Return the tables of the latest results of `benchmarks.adjoint` and `adjoint_times`."""
    found, times = (
        json.loads(max(RESULTS.glob(f"{what}_*.json")).read_text(encoding="utf-8"))
        for what in ("adjoint", "adjoint-times")
    )
    ideas, warm = found["ideas"], found["warm_starts"]
    return [warm_table(warm), start_table(ideas), inverse_table(ideas), times_table(times["rows"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=1, help="the results to read")
    threads = parser.parse_args().threads
    forward = rows_of("forward", threads)
    for table in (
        solver_table(forward),
        leaving_table(forward),
        gradient_table(rows_of("training", threads)),
        *adjoint_tables(),
    ):
        print(markdown(table), end="\n\n")


if __name__ == "__main__":
    main()
