"""One sitting at a run: open it, run what is missing with a progress bar, show the verdict."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.config import ConfigT, UsageError
from deqlab.experiments.resuming import position
from deqlab.experiments.runner import missing, run_jobs
from deqlab.runs.environment import describe
from deqlab.runs.rundir import RunDirectory
from deqlab.workers import short_of_memory

SHOWN = ("test_accuracy", "test_loss", "converged", "peak_memory_bytes")
"""Fields of a row that its progress line shows, where it has them."""


def check_config(experiment: Experiment[ConfigT], config: ConfigT) -> None:
    """Make the first jobs of a plan, and nothing on disk.

    Raises:
        UsageError: The experiment cannot run here with this config.
        DataError: It needs data that are not here.
    """
    try:
        experiment.check(config)
        experiment.plan(config, [])
    except (ValueError, MemoryError, RuntimeError) as error:
        if short_of_memory(error):
            text = "asks for more memory than there is; choose smaller sizes with --set"
            raise UsageError(f"{experiment.name} {text}") from error
        if not isinstance(error, ValueError) or type(error).__module__.startswith("deqlab."):
            raise
        raise UsageError(f"{experiment.name}: {error}") from error


def check_backend(name: str, jobs: int) -> None:
    """Raise UsageError unless the package of the backend is installed, and `jobs` make sense."""
    most = max(64, 8 * (os.cpu_count() or 1))
    if not 1 <= jobs <= most:
        raise UsageError(f"--jobs must be at least 1, and at most {most} here, got {jobs}")
    package = {"loky": "joblib", "dask": "distributed", "ray": "ray"}[name]
    if find_spec(package) is None:
        raise UsageError(
            f"--backend {name} needs the package {package}, which is not installed; "
            f"pip install 'deqlab[{name}]'"
        )


def run_session(
    experiment: Experiment[ConfigT],
    config: ConfigT,
    *,
    preset: str,
    path: Path,
    command: str,
    jobs: int,
    backend: str,
) -> list[Row]:
    """Run the missing jobs of an experiment in `path`, and print the verdict.

    Progress goes to standard error.

    Returns:
        The rows of the run.

    Raises:
        RunError: The directory cannot be used.
        KeyboardInterrupt: After saying what is saved.
    """
    console = Console(stderr=True)
    run = RunDirectory.open(path, experiment.describe(config, preset))
    for note in run.notes:
        console.print(escape(note))
    before = len(run.done)
    if before:
        console.print(f"{escape(str(path))}: {before} jobs are done already.")
    for note in _goes_on(experiment, config, run):
        console.print(f"{escape(note)}.")
    try:
        if missing(experiment, config, run):
            run.begin_session(describe(command, jobs=jobs))
        work = partial(run_jobs, experiment, config, run, jobs=jobs, backend=backend)
        verdict = _with_progress(experiment.name, work, run, console)
    except KeyboardInterrupt:
        run.look_again()
        console.print(
            f"Interrupted: {len(run.done)} jobs of {experiment.name} are saved in "
            f"{escape(str(path))}; the same command goes on from there."
        )
        for note in _goes_on(experiment, config, run):
            console.print(f"{escape(note)}.")
        raise
    finally:
        run.close()
    print(f"{experiment.name}: {verdict.outcome}. {verdict.sentence}")
    return run.rows


def _goes_on(experiment: Experiment[ConfigT], config: ConfigT, run: RunDirectory) -> Iterator[str]:
    """Say of each job that was interrupted where it goes on."""
    for job in missing(experiment, config, run):
        place = position(run.folder(job))
        if place is not None:
            yield f"{experiment.name}: {job.arm}, seed {job.seed}, goes on from {place}"


def _with_progress(
    name: str, work: Callable[..., Verdict], run: RunDirectory, console: Console
) -> Verdict:
    columns = (
        TextColumn("[bold]{task.fields[name]}[/]"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, name=name)

        def show(job: Job, row: Row | None, done: int, total: int) -> None:
            text = f"{job.arm}, seed {job.seed}"
            if row is None:
                summary = run.rows[-1]
                seconds = summary.get("seconds")
                took = "" if seconds is None else f", {seconds:.1f} s of training"
                console.print(f"{name} {done}/{total}: {text}{_metrics(summary)}{took}")
            elif "step" in row:
                text += f", step {row['step']}{_metrics(row)}"
            progress.update(task, description=text, completed=done, total=total)

        return work(on_progress=show)


def _metrics(row: Row) -> str:
    shown = [f"{name} {row[name]:.4g}" for name in SHOWN if row.get(name) is not None]
    return "".join(f", {text}" for text in shown)
