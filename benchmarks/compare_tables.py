"""`deqlab compare` as a user calls it, on tables whose answers can be judged.

    python -m benchmarks.compare_tables [--tables wine,churn] [--runs FOLDER] [--judge]

Three classifications and a regression that scikit-learn brings, a made table of customers, and the
same with the target among its features; each is asked about twice, with seeds that draw all folds,
weights and searches anew. What was run lies in FOLDER, and is judged and not run again; --judge
runs nothing. It ends with the table of docs/compare.md, which it writes.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import churn, results
from benchmarks.tables import RESULTS, markdown
from deqlab.experiments.tables.answer import Scores
from deqlab.experiments.tables.arms import ARMS, DEQ
from deqlab.experiments.tables.compare import experiment_of, standing
from deqlab.experiments.tables.config import TablesConfig, table_of
from deqlab.experiments.tables.metric import METRICS
from deqlab.inputs.table.leaks import suspects
from deqlab.runs.reading import read_rows, read_sessions

TABLES = ("breast_cancer", "wine", "digits", "diabetes", "churn", "churn-leak")
PAGE = Path(__file__).parent.parent / "docs" / "compare.md"
BEGIN, END = "<!-- benchmarks.compare_tables -->", "<!-- end -->"

MADE = {"churn": False, "churn-leak": True}
"""Whether a table that is made has the leak."""

JOBS = 2

Row = dict[str, Any]


def ask(table: str, seed: int, folder: Path) -> Row:
    """Call the command in a process of its own, and return what it took and printed."""
    data, target = table, "target"
    if table in MADE:
        data, target = str(folder / f"{table}.csv"), "churn"
        churn.write(Path(data), leak=MADE[table])
    out = folder / f"{table}-{seed}"
    shutil.rmtree(out, ignore_errors=True)  # half of a run says nothing on its time
    command = [sys.executable, "-m", "deqlab", "compare", data, "--target", target]
    command += ["--seed", str(seed), "--jobs", str(JOBS), "--out", str(out)]
    load, before, start = os.getloadavg()[0], _cpu_seconds(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": _cpu_seconds() - before,
        "load_before": load,
        "printed": done.stdout.splitlines(),
    }


def _cpu_seconds() -> float:
    """Return the time on processors of all processes that were waited for, and of their own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judged(folder: Path) -> Row:
    """Return what follows from the rows of a run."""
    told = json.loads((folder / "config.json").read_text("utf-8"))["config"]
    config = TablesConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})
    rows = read_rows(folder / "rows.jsonl").rows
    verdict, scores = experiment_of(config).judge(config, rows), standing(config, rows)
    session = read_sessions(folder / "environment.json")[0]
    return {
        "started": session["started"],
        "commit": session["commit"],
        "understood": table_of(config).description,
        "suspected": list(suspects(table_of(config))),
        "answer": verdict.sentence,
        "outcome": verdict.outcome,
        "details": list(verdict.details),
        "metric": scores.metric,
        "advised": scores.advised,
        "scores": {arm: scores.mean(arm) for arm in scores.of},
        "leads": {arm: _lead(scores, arm) for arm in scores.of if arm != DEQ},
    }


def _lead(scores: Scores, arm: str) -> list[float]:
    """Return by how much the DEQ is better than an arm, and the ends of the interval."""
    lead = scores.lead(DEQ, arm)
    return [lead.estimate, lead.low, lead.high]


def table_of_results(rows: list[Row]) -> list[list[str]]:
    """Return a line for each table: what was answered, on what it rests, and what it took."""
    head = ["table", "decided by", "DEQ", "best rival", "lead of the DEQ, with its interval"]
    lines = [[*head, "answer", "suspected of a leak", "seconds on a processor"]]
    for name in dict.fromkeys(row["table"] for row in rows):
        asked = [row for row in rows if row["table"] == name]
        rivals = [max(row["leads"], key=row["scores"].__getitem__) for row in asked]
        pairs = list(zip(asked, rivals, strict=True))
        lines.append(
            [
                name,
                METRICS[asked[0]["metric"]],
                _each([f"{row['scores'][DEQ]:.3f}" for row in asked]),
                _each([f"{ARMS[arm].label} {row['scores'][arm]:.3f}" for row, arm in pairs]),
                _each([_written(*row["leads"][arm]) for row, arm in pairs]),
                _each([row["answer"] for row in asked], "both seeds: "),
                _each([", ".join(row["suspected"]) or "none" for row in asked]),
                _each([f"{row['cpu_seconds']:.0f}" for row in asked]),
            ]
        )
    return lines


def _written(estimate: float, low: float, high: float) -> str:
    return f"{estimate:+.3f} ({low:+.3f} to {high:+.3f})"


def _each(cells: list[str], alike: str = "") -> str:
    """Return the cells of all seeds as one, which is shorter where they are the same."""
    if len(cells) > 1 and len(set(cells)) == 1:
        return f"{alike}{cells[0]}"
    return "; ".join(cells)


def written(page: str, rows: list[Row]) -> str:
    """Return the text of the page with the table of these rows."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} has no place for the table: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{markdown(table_of_results(rows))}\n\n{END}{after}"


def latest() -> Row:
    """Return the latest results."""
    found: Row = json.loads(max(RESULTS.glob("compare-tables_*.json")).read_text("utf-8"))
    return found


def main() -> None:
    options = results.parser(__doc__, repeats=2, workloads=False)
    options.add_argument("--tables", default=",".join(TABLES), help="names, as in wine,churn")
    options.add_argument("--runs", type=Path, default=Path("runs/compare-tables"))
    options.add_argument("--judge", action="store_true", help="only what was run")
    asked = options.parse_args()
    header = results.header("python -m benchmarks.compare_tables", asked) | {"jobs": JOBS}
    asked.runs.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(asked.repeats):
        for table in asked.tables.split(","):
            name, file = f"{table}-{seed}", asked.runs / f"{table}-{seed}.json"
            if not file.exists():
                if asked.judge:
                    continue
                file.write_text(json.dumps(ask(table, seed, asked.runs), indent=1) + "\n", "utf-8")
            took = json.loads(file.read_text("utf-8").replace(str(asked.runs), "FOLDER"))
            rows.append({"table": table, "seed": seed} | took | judged(asked.runs / name))
            results.console.print(f"{name}: {took['seconds']:.0f} s, {rows[-1]['answer']}")
    results.save("compare-tables", asked, {"environment": header, "rows": rows})
    if asked.out == RESULTS:
        PAGE.write_text(written(PAGE.read_text("utf-8"), rows), "utf-8")


if __name__ == "__main__":
    main()
