"""What a worker is like, in which a job runs as it does in one process."""

import json
import subprocess
import sys

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
def test_a_dask_worker_has_no_profiler():
    # It holds frames of the job, and the tensors in them: now and then a peak of memory is larger.
    pytest.importorskip("distributed")
    done = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seed, callbacks = json.loads(done.stdout)
    assert seed == 7
    assert callbacks
    assert "profile" not in callbacks
