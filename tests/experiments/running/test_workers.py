"""What a worker is like, in which a job runs as it does in one process."""

import json
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

TELL = """
import json
from distributed import get_worker
from deqlab.experiments.base import Job
from deqlab.experiments.running.workers import in_workers

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
