"""What becomes of the rows of a job: progress is told, the others are kept as well."""

import pytest

from deqlab import experiments
from deqlab.experiments.base import Job
from deqlab.experiments.running import runner
from tests.experiments.fake import EXPERIMENT, FakeConfig

KINDS = ["step"] * FakeConfig().size + ["summary"]


def test_every_row_is_told_and_progress_is_not_kept(start, tmp_path):
    told = []
    run, _ = start(tmp_path, on_progress=lambda job, row, done, total: told.append(row))
    kinds = [row and row["kind"] for row in told]
    assert kinds[: 2 * FakeConfig().size + 2] == ["progress", "step"] * 3 + ["summary", None]
    assert [row["kind"] for row in run.rows] == KINDS * 6


@pytest.mark.parametrize("seed", [0, 4])
def test_a_worker_keeps_what_this_process_keeps(monkeypatch, seed):
    monkeypatch.setitem(experiments.EXPERIMENTS, "fake", EXPERIMENT)
    config, job = FakeConfig(), Job(arm="first", seed=seed)
    ((_, here),) = runner._in_this_process(EXPERIMENT, config, [job], lambda job, row: None)
    returned, there = runner._work("fake", config, job)
    assert returned == job
    assert [row["kind"] for row in there] == KINDS
    assert str(there) == str(here)
