"""Runs the jobs of experiments that are not yet on disk, and writes the verdicts.

Several runs may share the workers, as the values of a sweep do. The plans are made again whenever
their jobs are done, since later arms may depend on what earlier ones measured.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch

from deqlab.experiments.base import PROGRESS, Experiment, Job, Row, Verdict
from deqlab.experiments.extending import take_seeds
from deqlab.experiments.standing import judged
from deqlab.runs.opening import RunError
from deqlab.runs.progress import listening, teller
from deqlab.runs.rundir import RunDirectory
from deqlab.workers import ON_THIS_MACHINE, in_workers, short_of_memory


@dataclass(frozen=True, kw_only=True)
class Part:
    """One run of a sitting.

    Attributes:
        experiment: What runs.
        config: Its settings.
        run: Its open directory.
    """

    experiment: Experiment[Any]
    config: Any
    run: RunDirectory

    def missing(self) -> list[Job]:
        """Return the planned jobs that are not on disk."""
        plan = self.experiment.plan(self.config, self.run.rows)
        return [job for job in plan if (job.arm, job.seed) not in self.run.done]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job of one of the parts, by its number."""

    part: int
    job: Job

    def __str__(self) -> str:
        return f"{self.job.arm}, seed {self.job.seed}"


Done: TypeAlias = tuple[Task, list[Row]]

OnProgress: TypeAlias = Callable[[Part, Job, Row | None], None]
"""Called with a job and its newest row, None when it is done; one thread at a time."""

Tell: TypeAlias = Callable[[Task, Row | None], None]


def run_parts(
    parts: Sequence[Part],
    *,
    jobs: int = 1,
    backend: str = "loky",
    on_progress: OnProgress = lambda part, job, row: None,
    on_loss: Callable[[str], None] = lambda sentence: None,
) -> list[Verdict]:
    """Run what is missing of several runs side by side, and judge each.

    A run that has fewer seeds than its config takes the others first.

    Args:
        parts: The runs.
        jobs: Workers, which all parts share; 1 runs in this process.
        backend: What spreads the jobs if there are more; see `workers`.
        on_progress: Told of rows, at most some a second from workers of this machine and none from
            others, and of every finished job.
        on_loss: Told, in a sentence, when a worker was lost.

    Returns:
        The verdicts, which are also on disk.

    Raises:
        RunError: Workers were killed, the memory or the disk is full, or an experiment leaves rows
            that are none.
    """
    lock = threading.Lock()

    def tell(task: Task, row: Row | None) -> None:
        with lock:
            on_progress(parts[task.part], task.job, row)

    for part in parts:
        take_seeds(part.experiment, part.config, part.run)
    while todo := [
        Task(part=number, job=job) for number, part in enumerate(parts) for job in part.missing()
    ]:
        for task, rows in _finished(parts, todo, jobs, backend, tell, on_loss):
            run = parts[task.part].run
            run.append(task.job, rows)
            run.clear(task.job)
            tell(task, None)
    return [_judged(part) for part in parts]


def _judged(part: Part) -> Verdict:
    part.run.arrange(part.experiment.plan(part.config, part.run.rows))
    found = part.experiment.judge(part.config, part.run.rows)
    verdict = judged(found, part.config, part.experiment.presets)
    part.run.finish(verdict)
    return verdict


def _finished(
    parts: Sequence[Part],
    todo: Sequence[Task],
    jobs: int,
    backend: str,
    tell: Tell,
    on_loss: Callable[[str], None],
) -> Iterator[Done]:
    """Yield tasks that are done, with their rows; first those whose rows stand aside."""
    left = []
    for task in todo:
        rows = parts[task.part].run.aside(task.job)
        if rows is None:
            left.append(task)
        else:
            yield task, rows
    if jobs == 1 or backend in ON_THIS_MACHINE:
        left = [replace(task, job=_with_folder(task.job, parts[task.part].run)) for task in left]
    whats = [(part.experiment.name, part.experiment.run, part.config) for part in parts]
    if jobs == 1:
        yield from (_work(whats, task, tell) for task in left)
    elif left:
        work = partial(_work, whats)
        with listening([task.job.folder for task in left], lambda n, row: tell(left[n], row)):
            yield from in_workers(work, left, jobs=jobs, backend=backend, on_loss=on_loss)


def _with_folder(job: Job, run: RunDirectory) -> Job:
    return replace(job, folder=run.folder(job))


def _work(
    whats: Sequence[tuple[str, Callable[[Any, Job], Iterator[Row]], Any]],
    task: Task,
    tell: Tell | None = None,
) -> Done:
    """Run one job; return it with the rows that are kept.

    A worker, which has nobody to tell, tells of its rows by the folder of the job.
    """
    name, run, config = whats[task.part]
    tell_of = teller(task.job.folder) if tell is None else partial(tell, task)
    rows = []
    for row in _seeded(name, run, config, task.job):
        tell_of(row)
        if row["kind"] != PROGRESS:
            rows.append(row)
    return task, rows


def _seeded(
    name: str,
    run: Callable[[Any, Job], Iterator[Row]],
    config: Any,  # noqa: ANN401
    job: Job,
) -> Iterator[Row]:
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
