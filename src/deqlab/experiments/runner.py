"""Runs the jobs of an experiment that are not yet on disk, and writes the verdict."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch

from deqlab.experiments.base import PROGRESS, Experiment, Job, Row, Verdict
from deqlab.experiments.config import ConfigT
from deqlab.runs.opening import RunError
from deqlab.runs.rundir import RunDirectory
from deqlab.workers import ON_THIS_MACHINE, Finished, in_workers, short_of_memory

Run: TypeAlias = Callable[[Any, Job], Iterator[Row]]
"""What an experiment does with a config and a job; workers receive it by reference."""

OnProgress: TypeAlias = Callable[[Job, Row | None, int, int], None]
"""Called with a job, its newest row (None when it is done), and how many jobs are done of all."""


def run_jobs(
    experiment: Experiment[ConfigT],
    config: ConfigT,
    run: RunDirectory,
    *,
    jobs: int = 1,
    backend: str = "loky",
    on_progress: OnProgress = lambda job, row, done, total: None,
) -> Verdict:
    """Run what is missing of `experiment` in `run`, and judge it.

    The plan is made again whenever its jobs are done, since later arms may depend on what
    earlier ones measured.

    Args:
        experiment: What to run.
        config: Its settings.
        run: The open run directory.
        jobs: Workers; 1 runs in this process.
        backend: What spreads the jobs if there are more; see `workers`.
        on_progress: Told of every row (with one process) and of every finished job.

    Returns:
        The verdict, which is also on disk.

    Raises:
        RunError: A worker was killed, the memory or the disk is full, or an experiment leaves rows
            that are none.
    """
    while todo := missing(experiment, config, run):

        def tell(job: Job, row: Row | None, total: int = len(run.done) + len(todo)) -> None:
            on_progress(job, row, len(run.done), total)

        if jobs == 1 or backend in ON_THIS_MACHINE:
            todo = [replace(job, folder=run.folder(job)) for job in todo]
        work = partial(_work, experiment.name, experiment.run, config)
        if jobs == 1:
            finished: Iterator[Finished] = (work(job, tell) for job in todo)
        else:
            finished = in_workers(work, todo, jobs=jobs, backend=backend)
        for job, rows in finished:
            run.append(job, rows)
            run.clear(job)
            tell(job, None)
    run.arrange(experiment.plan(config, run.rows))
    verdict = experiment.judge(config, run.rows)
    run.finish(verdict)
    return verdict


def missing(experiment: Experiment[ConfigT], config: ConfigT, run: RunDirectory) -> list[Job]:
    """Return the planned jobs that are not on disk."""
    plan = experiment.plan(config, run.rows)
    return [job for job in plan if (job.arm, job.seed) not in run.done]


def _work(
    name: str,
    run: Run,
    config: Any,  # noqa: ANN401
    job: Job,
    tell: Callable[[Job, Row], None] = lambda job, row: None,
) -> Finished:
    """Run one job; return it with the rows that are kept."""
    rows = []
    for row in _seeded(name, run, config, job):
        tell(job, row)
        if row["kind"] != PROGRESS:
            rows.append(row)
    return job, rows


def _seeded(name: str, run: Run, config: Any, job: Job) -> Iterator[Row]:  # noqa: ANN401
    torch.manual_seed(job.seed)
    try:
        yield from run(config, job)
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        raise RunError(
            f"{name}: {job.arm}, seed {job.seed}, asks for more memory than there is; "
            "the jobs before are saved; fewer jobs at a time need less, or smaller sizes, which "
            "need another --out"
        ) from error
