"""Jobs spread over processes or machines: one function, the backend by name.

Every backend yields a job as soon as it is done, in whatever order, so that its rows reach the
disk at once. One that loses a worker, and cannot get it back, ends with a WorkerError.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from typing import Any, TypeAlias

import joblib
import torch

from deqlab.runs.opening import RunError
from deqlab.runs.records import Job, Row

Finished: TypeAlias = tuple[Job, list[Row]]
Work: TypeAlias = Callable[[Job], Finished]
Backend: TypeAlias = Callable[[Work, Sequence[Job], int], Iterator[Finished]]


class WorkerError(RunError):
    """A worker was killed."""

    def __init__(self) -> None:
        super().__init__(
            "a worker was killed, as the system does when memory runs out; the jobs before are "
            "saved, and the same command goes on from there; fewer --jobs need less memory"
        )


def in_workers(work: Work, todo: Sequence[Job], *, jobs: int, backend: str) -> Iterator[Finished]:
    """Run `work` on every job, in `jobs` workers that share the cores.

    Args:
        work: What to do; it must survive pickling.
        todo: The jobs.
        jobs: Workers, at least 1.
        backend: A name in BACKENDS, whose package is installed.

    Raises:
        WorkerError: A worker was killed.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return BACKENDS[backend](partial(_with_threads, work, threads), todo, min(jobs, len(todo)))


def _with_threads(work: Work, threads: int, job: Job) -> Finished:
    torch.set_num_threads(threads)
    return work(job)


def _loky(work: Work, todo: Sequence[Job], jobs: int) -> Iterator[Finished]:
    work = partial(_while_it_lives, os.getpid(), work)
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    try:
        yield from parallel(joblib.delayed(work)(job) for job in todo)
    except BrokenExecutor as error:
        raise WorkerError from error


def _while_it_lives(parent: int, work: Work, job: Job) -> Finished:
    """Do the work, and end this process when its parent has ended.

    A parent that is killed by kill -9 cannot end its workers, and the next run does the same job.
    """
    done = threading.Event()
    threading.Thread(target=_end_with, args=(parent, done), daemon=True).start()
    try:
        return work(job)
    finally:
        done.set()


def _end_with(parent: int, done: threading.Event) -> None:
    while not done.wait(0.5):
        if os.getppid() != parent:
            os._exit(1)


def _dask(work: Work, todo: Sequence[Job], jobs: int) -> Iterator[Finished]:
    import dask
    from distributed import Client, KilledWorker, as_completed

    # DASK_SCHEDULER_ADDRESS names a cluster; without it, one is made on this machine, with a free
    # port for the dashboard: two runs at a time would both want the usual one.
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    dashboard = "127.0.0.1:0"
    local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": dashboard}
    # The profiler holds the frames it looks at, and so their tensors: peaks of memory would differ.
    quiet = dask.config.set({"distributed.worker.profile.enabled": False})
    with quiet, Client(address) if address else Client(**local) as client:
        try:
            for future in as_completed(client.map(work, todo, pure=False)):
                yield future.result()
        except KilledWorker as error:  # more than once: it runs the job again by itself
            raise WorkerError from error


def _ray(work: Work, todo: Sequence[Job], jobs: int) -> Iterator[Finished]:
    import ray
    from ray import exceptions

    lost = (
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
    )
    # RAY_ADDRESS names a cluster, which ray reads by itself; without it, one is made here.
    local: dict[str, Any] = (
        {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": jobs, "include_dashboard": False}
    )
    ray.init(log_to_driver=False, **local)
    try:
        remote = ray.remote(_call)  # which takes no partial function
        waiting = [remote.remote(work, job) for job in todo]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)
    except exceptions.RayTaskError as error:
        raise error.cause from error  # what the job raised
    except lost as error:  # more than once, as above
        raise WorkerError from error
    finally:
        ray.shutdown()


def _call(work: Work, job: Job) -> Finished:
    return work(job)


BACKENDS: dict[str, Backend] = {"loky": _loky, "dask": _dask, "ray": _ray}

ON_THIS_MACHINE = frozenset({"loky"})
"""Backends whose workers have the files that the run directory is among."""


def short_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed, which torch tells by the text of an error only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
