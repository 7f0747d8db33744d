"""Jobs spread over processes or machines: one function, the backend by name.

Every backend yields a job as soon as it is done, in whatever order, so that its rows reach the
disk at once. Jobs of a worker that was killed run again; one that a worker is lost with again and
again ends with a WorkerError.
"""

import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

import joblib
import torch

from deqlab.runs.opening import RunError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
Work: TypeAlias = Callable[[Any], Any]
OnLoss: TypeAlias = Callable[[str], None]
Backend: TypeAlias = Callable[[Work, Sequence[Any], int, OnLoss], Iterator[Any]]

TRIES = 3
"""How often a job may lose its worker, the last time with nothing beside it."""

KILLED = "a worker was killed, as the system does when memory runs out"


class WorkerError(RunError):
    """Workers were killed, and not by chance.

    Args:
        item: What one did whenever that happened, if it is known.
    """

    def __init__(self, item: object | None = None) -> None:
        when = "" if item is None else f", {TRIES} times at {item}, the last time alone"
        super().__init__(
            f"{KILLED}{when}; the jobs before are saved, and the same command goes on from there; "
            "fewer --jobs or smaller sizes need less memory"
        )


def in_workers(
    work: Callable[[ItemT], ResultT],
    todo: Sequence[ItemT],
    *,
    jobs: int,
    backend: str,
    on_loss: OnLoss = lambda sentence: None,
) -> Iterator[ResultT]:
    """Run `work` on every item, in `jobs` workers that share the cores.

    Args:
        work: What to do; it must survive pickling.
        todo: The items; errors call them what `str` does.
        jobs: Workers, at least 1.
        backend: A name in BACKENDS, whose package is installed.
        on_loss: Told, in a sentence, when workers were lost and their items run again.

    Raises:
        WorkerError: A worker was killed, and again when what it did ran alone.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spread = BACKENDS[backend]
    return spread(partial(_with_threads, work, threads), todo, min(jobs, len(todo)), on_loss)


def _with_threads(work: Work, threads: int, item: Any) -> Any:  # noqa: ANN401
    torch.set_num_threads(threads)
    return work(item)


def _loky(work: Work, todo: Sequence[Any], jobs: int, on_loss: OnLoss) -> Iterator[Any]:
    """Run what is left in a new pool whenever a worker is lost, which ends the old one.

    Items start in order, so those that the lost pool was at are the first that are not done. They
    go last, and at their last try each has a pool to itself. One that loses it even so keeps none
    of the others from being done.
    """
    work = partial(_while_it_lives, os.getpid(), work)
    left, losses, given_up = dict(enumerate(todo)), Counter[int](), list[Any]()
    while left:
        queue = sorted(left, key=lambda number: (losses[number], number))
        alone = losses[queue[0]] == TRIES - 1
        queue = queue[:1] if alone else [n for n in queue if losses[n] < TRIES - 1]
        try:
            with _closed_quietly(_pool(work, [(n, left[n]) for n in queue], jobs)) as results:
                for number, result in results:
                    del left[number]
                    yield result
        except BrokenExecutor:
            if alone:
                given_up.append(left.pop(queue[0]))
                continue
            lost = [number for number in queue if number in left][:jobs]
            losses.update(lost)
            on_loss(f"{KILLED}; what it did runs again: {', '.join(str(left[n]) for n in lost)}")
    if given_up:
        raise WorkerError(given_up[0])


@contextmanager
def _closed_quietly(results: Any) -> Iterator[Any]:  # noqa: ANN401, a generator
    """Close a pool without joblib's warning of results that nobody took, as after Ctrl-C."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _pool(work: Work, items: Sequence[tuple[int, Any]], jobs: int) -> Any:  # noqa: ANN401, a generator
    # With one worker joblib would work here, in this process; batches would hide what runs.
    parallel = joblib.Parallel(
        n_jobs=max(2, min(jobs, len(items))), batch_size=1, return_as="generator_unordered"
    )
    return parallel(joblib.delayed(_numbered)(work, number, item) for number, item in items)


def _numbered(work: Work, number: int, item: Any) -> tuple[int, Any]:  # noqa: ANN401
    return number, work(item)


def _while_it_lives(parent: int, work: Work, item: Any) -> Any:  # noqa: ANN401
    """Do the work, and end this process when its parent has ended.

    A parent that is killed by kill -9 cannot end its workers, and the next run does the same job.
    """
    # Ctrl-C reaches the whole group: the parent says a sentence, and ends the workers.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    done = threading.Event()
    threading.Thread(target=_end_with, args=(parent, done), daemon=True).start()
    try:
        return work(item)
    finally:
        done.set()


def _end_with(parent: int, done: threading.Event) -> None:
    while not done.wait(0.5):
        if os.getppid() != parent:
            os._exit(1)


def _dask(work: Work, todo: Sequence[Any], jobs: int, on_loss: OnLoss) -> Iterator[Any]:
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
        except KilledWorker as error:  # more than once: it runs the item again by itself
            raise WorkerError from error


def _ray(work: Work, todo: Sequence[Any], jobs: int, on_loss: OnLoss) -> Iterator[Any]:
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
        waiting = [remote.remote(work, item) for item in todo]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)
    except exceptions.RayTaskError as error:
        raise error.cause from error  # what the job raised
    except lost as error:  # more than once, as above
        raise WorkerError from error
    finally:
        ray.shutdown()


def _call(work: Work, item: Any) -> Any:  # noqa: ANN401
    return work(item)


BACKENDS: dict[str, Backend] = {"loky": _loky, "dask": _dask, "ray": _ray}

ON_THIS_MACHINE = frozenset({"loky"})
"""Backends whose workers have the files that the run directory is among."""


def short_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed, which torch tells by the text of an error only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
