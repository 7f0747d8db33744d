"""What a worker is like, in which a job runs as it does in one process."""

import pytest

from deqlab.experiments.base import Job
from deqlab.experiments.running.workers import in_workers

JOB = Job(arm="any", seed=0)


def periodic_work(job):
    from distributed import get_worker

    return job, list(get_worker().periodic_callbacks)


@pytest.mark.slow
def test_a_dask_worker_has_no_profiler():
    # It holds frames of the job, and the tensors in them: now and then a peak of memory is larger.
    pytest.importorskip("distributed")
    ((job, callbacks),) = in_workers(periodic_work, [JOB], jobs=1, backend="dask")
    assert job == JOB
    assert callbacks
    assert "profile" not in callbacks
