"""What a worker is like, in which a job runs as it does in one process."""

import json
import re
import socket
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from importlib.util import find_spec

import pytest

from deqlab import workers
from deqlab.cli.session import check_backend
from deqlab.experiments.config import UsageError
from deqlab.workers import WorkerError

TELL = """
import json
from distributed import get_worker
from deqlab.runs.records import Job
from deqlab.workers import in_workers

def work(job):
    return job, list(get_worker().periodic_callbacks)

for job, callbacks in in_workers(work, [Job(arm="any", seed=7)], jobs=1, backend="dask"):
    print(json.dumps([job.seed, callbacks]))
"""


@pytest.mark.slow
def test_a_dask_worker_has_no_profiler_and_wants_no_port_of_others():
    # A profiler holds frames of the job, and the tensors in them: peaks of memory would differ.
    pytest.importorskip("distributed")
    with socket.socket() as other:
        with suppress(OSError):  # somebody has it already
            other.bind(("127.0.0.1", 8787))
        command = [sys.executable, "-c", TELL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Port" not in done.stderr
    seed, callbacks = json.loads(done.stdout)
    assert seed == 7
    assert callbacks
    assert "profile" not in callbacks


KILL = """
import functools, json, os, pathlib, signal, sys, time
from deqlab.workers import WorkerError, in_workers

def work(when, number):
    if number == 1 and (when == "always" or not pathlib.Path("killed").exists()):
        time.sleep(1)
        pathlib.Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number

if __name__ == "__main__":
    found, losses = [], []
    try:
        kind = {"jobs": 2, "backend": sys.argv[1], "on_loss": losses.append}
        for number in in_workers(functools.partial(work, sys.argv[2]), range(5), **kind):
            found.append(number)
    except WorkerError as error:
        losses.append(str(error))
    print("told:", json.dumps([sorted(found), losses]))
"""


def killed(tmp_path, backend, when):
    (tmp_path / "kill.py").write_text(KILL)  # workers of dask and ray import what they run
    command = [sys.executable, "kill.py", backend, when]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # What ray's own processes say stands beside it.
    (told,) = re.findall(r"^told: (.*)$", done.stdout, flags=re.MULTILINE)
    return json.loads(told)


@pytest.mark.slow
def test_what_a_killed_worker_did_runs_again(tmp_path):
    found, (loss,) = killed(tmp_path, "loky", "once")
    assert found == [0, 1, 2, 3, 4]
    assert loss.startswith("a worker was killed, as the system does when memory runs out; what it")
    assert "1" in loss


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "package"), [("loky", "joblib"), ("dask", "distributed"), ("ray", "ray")]
)
def test_a_job_that_kills_every_worker_is_one_sentence_and_the_others_are_yielded(
    tmp_path, backend, package
):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    found, losses = killed(tmp_path, backend, "always")
    assert 0 in found
    assert 1 not in found
    assert losses[-1].startswith("a worker was killed, as the system does when memory runs out")
    assert "the jobs before are saved" in losses[-1]
    if backend == "loky":
        assert found == [0, 2, 3, 4]
        assert "3 times at 1, the last time alone" in losses[-1]
        assert len(losses) == 3


@pytest.mark.slow
def test_a_single_job_runs_in_a_worker_however_long_it_takes(tmp_path):
    # In this process it would be ended as a worker without a parent is.
    (tmp_path / "one.py").write_text(
        "import os, time\n"
        "from deqlab.workers import in_workers\n"
        "def work(item):\n    time.sleep(2)\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    (there,) = in_workers(work, [0], jobs=2, backend='loky')\n"
        "    print(there != os.getpid())\n"
    )
    command = [sys.executable, "one.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def pools(monkeypatch, deadly, jobs):
    """Let pools do nothing but count who runs, and end with a loss where `deadly` says so.

    Items start in order, `jobs` of them at a time, and each is done before the next one starts.
    """
    begun = []

    def pool(work, items, workers):
        for at, (number, item) in enumerate(items):
            running = {other for _, other in items[at : at + min(workers, len(items))]}
            begun.append(running)
            if deadly(running):
                raise BrokenExecutor
            yield number, item

    monkeypatch.setattr(workers, "_pool", pool)
    losses = []
    found = workers.in_workers(
        lambda item: item, "abcdef", jobs=jobs, backend="loky", on_loss=losses.append
    )
    return found, losses, begun


def test_what_a_lost_pool_was_at_goes_last_and_at_the_end_alone(monkeypatch):
    found, losses, begun = pools(monkeypatch, lambda running: "b" in running, jobs=2)
    done = []
    with pytest.raises(WorkerError, match="3 times at b, the last time alone"):
        done.extend(found)
    assert sorted(done) == list("acdef")  # whoever stood beside it is done all the same
    assert len(losses) == 2
    assert begun[-1] == {"b"} or begun[-2] == {"b"}


def test_jobs_that_do_not_fit_into_memory_together_are_done_one_by_one(monkeypatch):
    greedy = set("bce")
    found, losses, _ = pools(monkeypatch, lambda running: len(running & greedy) > 1, jobs=3)
    assert sorted(found) == list("abcdef")
    assert losses


def test_a_worker_that_is_lost_by_chance_costs_no_job(monkeypatch):
    chances = iter([False, False, True])
    found, losses, _ = pools(monkeypatch, lambda running: next(chances, False), jobs=2)
    assert sorted(found) == list("abcdef")
    assert losses == [f"{workers.KILLED}; what it did runs again: c, d"]


@pytest.mark.parametrize("jobs", [0, -1, 10**6, 10**30])
def test_workers_that_no_machine_has_are_refused(jobs):
    with pytest.raises(UsageError, match=f"--jobs must be at least 1, and at most .*, got {jobs}"):
        check_backend("loky", jobs)
