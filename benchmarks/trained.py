"""The tables of trained networks in the docs, and the weights that deqlab brings.

    python -m benchmarks.trained [--bundle]

Reads the runs under `benchmarks/results/stabilisers` and `models`; prints as Markdown what each
stabiliser did, and how each recipe ended. With --bundle the weights of recipes that have been run
move into the package: those of the seed whose test accuracy is the median.
"""

import argparse
import shutil
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from statistics import median
from typing import Any

from benchmarks.tables import RESULTS, markdown
from deqlab.experiments.comparing.evidence import percent, with_range
from deqlab.recipes import RECIPES
from deqlab.recipes.task import Metric
from deqlab.recipes.trained import BUNDLED
from deqlab.recipes.weights import FILE
from deqlab.report.rows import Run, read_run
from deqlab.runs.records import RESULTS as RESULTS_OF_JOBS

STABILISERS, MODELS = RESULTS / "stabilisers", RESULTS / "models"
GROUPS = {
    "images": ("training.md", "accuracy"),
    "language": ("sequences.md", "validation loss"),
    "reasoning": ("sequences.md", "solved"),
    "graphs": ("graphs.md", "accuracy"),
    "control": ("control.md", "relative error"),
    "inverse": ("inverse-problems.md", "PSNR"),
    "operators": ("operators.md", "relative error"),
    "picture": ("pictures-as-functions.md", "PSNR"),
}
"""The page in docs/ of each folder of `deqlab.recipes`, and what the metric is called there."""

GRADIENTS, MODES = RESULTS / "gradients" / "sudoku", RESULTS / "modes" / "language"

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


def models_table(group: str) -> list[list[str]]:
    """Return a line for each network of each recipe of a group, medians over seeds with the range.

    Args:
        group: The folder of `deqlab.recipes` that they stand in.
    """
    _, result = GROUPS[group]
    table = [["recipe", "network", "parameters", result, "converged", "evaluations"]]
    for run in models(group):
        name = run.config["experiment"]
        metric = RECIPES[name].metric
        for arm, rows in summaries(run).items():
            deq = "converged" in rows[0]
            table.append(
                [
                    f"`{name}`" if arm == "deq" else "",
                    rows[0]["label"],
                    f"{median(_all(rows, 'parameters')):,.0f}",
                    with_range(_all(rows, metric.field), partial(_with_unit, metric)),
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


def at_depths_table(run: Run) -> list[list[str]]:
    """Return a line for each network: what is solved after so many loops, medians over seeds."""
    depths = run.config["config"]["depths"]
    table = [["network", "equilibrium", *(f"{depth} loops" for depth in depths), "starts agree"]]
    for rows in _by_arm(run).values():
        found = _medians(rows, "depth", "depth", "test_accuracy")
        if found:
            cells = [_percent(found[depth]) for depth in depths]
            reached = _percent(median(_all(_of_kind(rows, "summary"), "test_accuracy")))
            same = median(_all(_of_kind(rows, "starts"), "same_answer"))
            label = _of_kind(rows, "summary")[0]["label"]
            table.append([label, reached, *cells, _percent(same)])
    return table


def sizes_table(run: Run) -> list[list[str]]:
    """Return a line for each network: what is solved at each size, medians over seeds."""
    sizes = run.config["config"]["test_sizes"]
    table = [["network", *(f"{size}" for size in sizes)]]
    for rows in _by_arm(run).values():
        found = _medians(rows, "size", "size", "test_accuracy")
        label = _of_kind(rows, "summary")[0]["label"]
        table.append([label, *(_percent(found[size]) for size in sizes)])
    return table


def loops_table(run: Run) -> list[list[str]]:
    """Return a line for each network: its metric and residual after so many loops."""
    name = run.config["experiment"]
    metric = RECIPES[name].metric
    iterates = ("1", "2", "4", "8", "equilibrium")
    table = [["network", "", *(f"{each} loops" for each in iterates[:-1]), "as it is"]]
    for rows in _by_arm(run).values():
        values = _medians(rows, "feedback", "iterate", metric.field)
        residuals = _medians(rows, "feedback", "iterate", "residual")
        if values:
            label = _of_kind(rows, "summary")[0]["label"]
            table.append([label, "loss", *(metric.show(values[each]) for each in iterates)])
            table.append(["", "residual", *(f"{residuals[each]:.2g}" for each in iterates)])
    return table


def _with_unit(metric: Metric, value: float) -> str:
    return metric.show(value) + metric.unit


def _by_arm(run: Run) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for job in run.jobs:
        found[job.arm] += [dict(row) for row in job.rows]
    return dict(found)


def _of_kind(rows: Collection[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _medians(rows: Collection[Row], kind: str, by: str, field: str) -> dict[Any, float]:
    found = defaultdict(list)
    for row in _of_kind(rows, kind):
        found[row[by]].append(row[field])
    return {key: median(values) for key, values in found.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def models(group: str) -> list[Run]:
    """Return the runs of recipes that are on disk, in the order of `deqlab train`.

    Args:
        group: The folder of `deqlab.recipes` that they stand in.
    """
    return [read_run(MODELS / name) for name in named(group) if (MODELS / name).is_dir()]


def named(group: str) -> list[str]:
    """Return the recipes of a folder of `deqlab.recipes`."""
    inside = f"deqlab.recipes.{group}."
    configs = {name: type(recipe.presets["full"]) for name, recipe in RECIPES.items()}
    return [name for name, kind in configs.items() if kind.__module__.startswith(inside)]


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
    bundles = parser.parse_args().bundle
    if bundles:
        bundle([run for group in GROUPS for run in models(group)])
    print(markdown(stabilisers_table(read_run(STABILISERS))))
    for group in GROUPS:
        if models(group):
            print(f"\n{markdown(models_table(group))}")
    print(f"\n{markdown(feedback_table(models('images')))}")
    reasoning = models("reasoning")
    for run in [run for run in reasoning if "test_sizes" in run.config["config"]]:
        print(f"\n{markdown(sizes_table(run))}")
    for run in [*reasoning, *(read_run(path) for path in (GRADIENTS,) if path.is_dir())]:
        print(f"\n{markdown(at_depths_table(run))}")
    for run in [read_run(path) for path in (MODES,) if path.is_dir()]:
        print(f"\n{markdown(loops_table(run))}")


if __name__ == "__main__":
    main()
