"""One sitting at runs: open them, run what is missing, show the verdicts."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from rich.console import Console

from deqlab.cli.progress import Display, called
from deqlab.experiments.base import Experiment, Row, Verdict
from deqlab.experiments.config import ConfigT, UsageError
from deqlab.experiments.extending import take_seeds
from deqlab.experiments.resuming import position
from deqlab.experiments.runner import Part, run_parts
from deqlab.runs.environment import describe
from deqlab.runs.rundir import RunDirectory
from deqlab.workers import short_of_memory


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
    """Run the missing jobs of an experiment in `path`, and print the verdict; see `run_together`.

    Returns:
        The rows of the run.
    """
    (rows,) = run_together(
        experiment, {path: config}, preset=preset, command=command, jobs=jobs, backend=backend
    )
    return rows


def run_together(
    experiment: Experiment[ConfigT],
    configs: Mapping[Path, ConfigT],
    *,
    preset: str,
    command: str,
    jobs: int,
    backend: str,
) -> list[list[Row]]:
    """Run the missing jobs of an experiment with several configs, and print the verdicts.

    Progress goes to standard error.

    Args:
        experiment: What runs.
        configs: The config of each run directory.
        preset: The name of the preset, for config.json.
        command: The command, for environment.json.
        jobs: Workers, which all runs share.
        backend: What runs them.

    Returns:
        The rows of each run.

    Raises:
        RunError: A directory cannot be used.
        KeyboardInterrupt: After saying what is saved.
    """
    console = Console(stderr=True)
    with ExitStack() as closing:
        parts = []
        for path, config in configs.items():
            run = RunDirectory.open(path, experiment.describe(config, preset))
            closing.callback(run.close)
            take_seeds(experiment, config, run)
            parts.append(Part(experiment=experiment, config=config, run=run))
        for note in chain.from_iterable(map(_begins, parts)):
            _say(console, note)
        session = describe(command, jobs=jobs)
        try:
            for part in parts:
                if part.missing():
                    part.run.begin_session(session)
            work = partial(run_parts, parts, jobs=jobs, backend=backend)
            verdicts: list[Verdict] = Display(parts, console).run(work)
        except KeyboardInterrupt:
            for note in chain.from_iterable(map(_interrupted, parts)):
                _say(console, note)
            raise
    for part, verdict in zip(parts, verdicts, strict=True):
        name = f"{experiment.name}, {part.run.path.name}" if len(parts) > 1 else experiment.name
        print(f"{name}: {verdict.outcome}. {verdict.sentence}")
    return [part.run.rows for part in parts]


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _begins(part: Part) -> Iterator[str]:
    """Say what is there of a run, and where its jobs go on."""
    yield from part.run.notes
    if part.run.done:
        done = len(part.run.done)
        yield f"{part.run.path}: {done} {'job is' if done == 1 else 'jobs are'} done already."
    yield from _goes_on(part)


def _interrupted(part: Part) -> Iterator[str]:
    """Say what is saved of a run."""
    part.run.look_again()
    done = len(part.run.done)
    yield (
        f"Interrupted: {done} {'job' if done == 1 else 'jobs'} of {part.experiment.name} "
        f"{'is' if done == 1 else 'are'} saved in "
        f"{part.run.path}; the same command goes on from there."
    )
    yield from _goes_on(part)


def _goes_on(part: Part) -> Iterator[str]:
    """Say of each job that was interrupted where it goes on."""
    for job in part.missing():
        place = position(part.run.folder(job))
        if place is not None:
            name = f"{part.experiment.name}: {called(job)}, seed {job.seed}"
            yield f"{name}, goes on from {place}."
