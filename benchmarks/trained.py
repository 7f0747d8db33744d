"""The tables of docs/training.md, and the weights that deqlab brings.

    python -m benchmarks.trained [--bundle]

Reads the runs under `benchmarks/results/stabilisers` and `models`; prints as Markdown what each
stabiliser did, and how each recipe ended. With --bundle the weights of recipes that have been run
move into the package: those of the seed whose test accuracy is the median.
"""

import argparse
import shutil
from collections import defaultdict
from collections.abc import Collection
from statistics import median
from typing import Any

from benchmarks.tables import RESULTS, markdown
from deqlab.experiments.comparing.evidence import percent, with_range
from deqlab.recipes import RECIPES
from deqlab.recipes.trained import BUNDLED
from deqlab.recipes.weights import FILE
from deqlab.report.rows import Run, read_run
from deqlab.runs.records import RESULTS as RESULTS_OF_JOBS

STABILISERS, MODELS = RESULTS / "stabilisers", RESULTS / "models"

Row = dict[str, Any]


def summaries(run: Run) -> dict[str, list[Row]]:
    """Return the last rows of the jobs of a run, by arm."""
    found = defaultdict(list)
    for job in run.jobs:
        found[job.arm].append(dict(job.summary))
    return dict(found)


def stabilisers_table(run: Run) -> list[list[str]]:
    """Return a line for each stabiliser in each setting, medians over seeds with the range."""
    head = ["cell", "stabiliser", "converged", "test loss", "evaluations", "time of training"]
    arms, table = summaries(run), [head]
    for rows in arms.values():
        setting = rows[0]["setting"]
        beside = [row["seconds"] for row in arms[f"{setting}: nothing"]]
        times = median(row["seconds"] for row in rows) / median(beside)
        table.append(
            [
                setting,
                rows[0]["stabiliser"],
                with_range(_all(rows, "converged"), percent),
                with_range(_all(rows, "test_loss"), "{:.3f}".format),
                with_range(_all(rows, "test_evaluations"), "{:.0f}".format),
                f"x {times:.2f}",
            ]
        )
    return table


def models_table(runs: Collection[Run]) -> list[list[str]]:
    """Return a line for each network of each recipe, medians over seeds with the range."""
    table = [["recipe", "network", "parameters", "accuracy", "converged", "evaluations"]]
    for run in runs:
        for rows in summaries(run).values():
            deq = "converged" in rows[0]
            table.append(
                [
                    f"`{run.config['experiment']}`" if deq else "",
                    rows[0]["label"],
                    f"{median(_all(rows, 'parameters')):,.0f}",
                    with_range(_all(rows, "test_accuracy"), lambda share: f"{100 * share:.2f} %"),
                    percent(min(_all(rows, "converged"))) if deq else "",
                    with_range(_all(rows, "test_evaluations"), "{:.1f}".format) if deq else "",
                ]
            )
    return table


def feedback_table(runs: Collection[Run]) -> list[list[str]]:
    """Return the accuracy of each DEQ after so many evaluations of f, medians over seeds."""
    iterates = ("0", "1", "2", "4", "equilibrium")
    table = [["recipe", *iterates]]
    for run in runs:
        found = defaultdict(list)
        for job in run.jobs:
            for row in job.rows:
                if row["kind"] == "feedback":
                    found[row["iterate"]].append(row["test_accuracy"])
        accuracies = [f"{100 * median(found[iterate]):.2f} %" for iterate in iterates]
        table.append([f"`{run.config['experiment']}`", *accuracies])
    return table


def models() -> list[Run]:
    """Return the runs of the recipes that are on disk, in the order of `deqlab train`."""
    return [read_run(MODELS / name) for name in RECIPES if (MODELS / name).is_dir()]


def median_seed(run: Run) -> int:
    """Return the seed of the DEQ whose test accuracy is the median; the lower one of two."""
    rows = sorted(summaries(run)["deq"], key=lambda row: row["test_accuracy"])
    seed: int = rows[(len(rows) - 1) // 2]["seed"]
    return seed


def bundle(runs: Collection[Run]) -> None:
    """Move the weights of the median seed of each recipe into the package; drop the others."""
    BUNDLED.mkdir(exist_ok=True)
    for run in runs:
        name = run.config["experiment"]
        weights = MODELS / name / RESULTS_OF_JOBS
        if weights.is_dir():
            file = weights / f"deq-{median_seed(run)}" / FILE
            file.replace(BUNDLED / f"{name}.safetensors")
            shutil.rmtree(weights)


def _all(rows: Collection[Row], field: str) -> list[float]:
    return [row[field] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bundle", action="store_true", help="move the weights to the package")
    runs = models()
    if parser.parse_args().bundle:
        bundle(runs)
    print(markdown(stabilisers_table(read_run(STABILISERS))))
    print(f"\n{markdown(models_table(runs))}\n\n{markdown(feedback_table(runs))}")


if __name__ == "__main__":
    main()
