"""What a worker is like, in which a job runs as it does in one process."""

import json
import re
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec

import pytest

from deqlab.cli.session import check_backend
from deqlab.experiments.config import UsageError

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
import json, os, signal, sys, time
from deqlab.runs.records import Job
from deqlab.workers import WorkerError, in_workers

def work(job):
    if job.seed == 1:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    return job, []

if __name__ == "__main__":
    found, todo = [], [Job(arm="any", seed=seed) for seed in range(3)]
    try:
        for job, _ in in_workers(work, todo, jobs=2, backend=sys.argv[1]):
            found.append(job.seed)
    except WorkerError as error:
        print("told:", json.dumps([sorted(found), str(error)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "package"), [("loky", "joblib"), ("dask", "distributed"), ("ray", "ray")]
)
def test_a_worker_that_is_killed_is_one_sentence_and_other_jobs_are_yielded(
    tmp_path, backend, package
):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (tmp_path / "kill.py").write_text(KILL)  # workers of dask and ray import what they run
    command = [sys.executable, "kill.py", backend]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # What ray's own processes say stands beside it.
    (told,) = re.findall(r"^told: (.*)$", done.stdout, flags=re.MULTILINE)
    found, sentence = json.loads(told)
    assert 0 in found
    assert 1 not in found
    assert sentence.startswith("a worker was killed, as the system does when memory runs out")
    assert "the jobs before are saved" in sentence


@pytest.mark.parametrize("jobs", [0, -1, 10**6, 10**30])
def test_workers_that_no_machine_has_are_refused(jobs):
    with pytest.raises(UsageError, match=f"--jobs must be at least 1, and at most .*, got {jobs}"):
        check_backend("loky", jobs)
