"""What becomes of the rows of a job: progress is told, the others are kept as well."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deqlab.cli.session import check_config
from deqlab.experiments import runner
from deqlab.experiments.base import Job
from deqlab.runs.rundir import RunDirectory, RunError
from tests.experiments.fake import EXPERIMENT, FakeConfig, run_jobs

KINDS = ["step"] * FakeConfig().size + ["summary"]


def test_every_row_is_told_and_progress_is_not_kept(start, tmp_path):
    told = []
    run, _ = start(tmp_path, on_progress=lambda part, job, row: told.append(row))
    kinds = [row and row["kind"] for row in told]
    assert kinds[: 2 * FakeConfig().size + 2] == ["progress", "step"] * 3 + ["summary", None]
    assert [row["kind"] for row in run.rows] == KINDS * 6


@pytest.mark.parametrize("seed", [0, 4])
def test_a_worker_keeps_what_this_process_keeps(seed):
    task, told = runner.Task(part=0, job=Job(arm="first", seed=seed)), []
    whats = [("fake", EXPERIMENT.run, FakeConfig())]
    _, here = runner._work(whats, task, lambda task, row: told.append(row))
    returned, there = runner._work(whats, task)
    assert returned == task
    assert [row["kind"] for row in told] != KINDS
    assert [row["kind"] for row in there] == KINDS
    assert str(there) == str(here)


GREEDY = {
    "python": lambda: [None] * 10**18,
    "numpy": lambda: np.ones(10**17),
    "torch": lambda: torch.ones(10**17),
}


@pytest.mark.parametrize("allocate", GREEDY.values(), ids=GREEDY)
def test_a_job_that_asks_for_too_much_memory_ends_with_a_sentence_and_keeps_the_others(
    tmp_path, description, allocate
):
    def run(config, job):
        if job.seed == 1:
            allocate()
        yield {"kind": "summary", "label": "x"}

    directory = RunDirectory.open(tmp_path / "run", description)
    with pytest.raises(RunError, match=r"fake: first, seed 1, asks for more memory than there is"):
        run_jobs(replace(EXPERIMENT, run=run), FakeConfig(), directory)
    directory.close()
    assert directory.done == {("first", 0)}


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug")])
def test_any_other_error_of_a_job_keeps_its_traceback(tmp_path, description, error):
    def run(config, job):
        raise error
        yield

    directory = RunDirectory.open(tmp_path / "run", description)
    with pytest.raises(type(error), match="a bug") as told:
        run_jobs(replace(EXPERIMENT, run=run), FakeConfig(), directory)
    directory.close()
    assert told.value is error


def test_a_config_that_cannot_run_is_a_sentence():
    def refuse(config):
        raise ValueError("sigma must be below 1")

    def allocate(config, rows):
        torch.ones(10**17)

    with pytest.raises(ValueError, match="fake: sigma must be below 1") as told:
        check_config(replace(EXPERIMENT, check=refuse), FakeConfig())
    assert type(told.value).__module__.startswith("deqlab.")
    with pytest.raises(ValueError, match="fake asks for more memory than there is; choose smaller"):
        check_config(replace(EXPERIMENT, plan=allocate), FakeConfig())
    check_config(EXPERIMENT, FakeConfig())
