"""More seeds for a run that has some: the rows are those of a run that had them from the start."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch

from deqlab.experiments.base import Job
from deqlab.runs import rundir
from deqlab.runs.opening import RunError
from deqlab.runs.rundir import RunDirectory
from tests.experiments.fake import EXPERIMENT, FakeConfig, run_jobs

RAN = []
"""The jobs that ran, by arm and seed."""


def plan(config, rows):
    """Two arms, then arms for the median of the first, for the size, and for few seeds."""
    jobs = [Job(arm=arm, seed=seed) for arm in ("first", "other") for seed in config.seeds]
    values = [r["value"] for r in rows if r["arm"] == "first" and r["kind"] == "summary"]
    if len(values) < len(config.seeds):
        return jobs
    arms = {"median": {"value": median(values)}, "size": {"value": config.size}}
    if len(values) < 5:
        arms["few"] = {"value": None}
    return jobs + [Job(arm=a, seed=s, settings=of) for a, of in arms.items() for s in config.seeds]


def run(config, job):
    RAN.append((job.arm, job.seed))
    yield {"kind": "step", "value": torch.rand(()).item()}
    if job.results is not None and job.arm in ("median", "few"):
        job.results.mkdir(parents=True)
        (job.results / "weights").write_text(str(job.settings["value"]))
    value = torch.rand(()).item() if job.arm == "first" else job.settings.get("value")
    yield {"kind": "summary", "label": job.arm, "value": value}


WAVES = replace(EXPERIMENT, plan=plan, run=run)


def go(path, seeds, **options):
    """Run with so many seeds, and return which jobs ran."""
    config = FakeConfig(seeds=tuple(range(seeds)))
    directory = RunDirectory.open(path, WAVES.describe(config, "quick"))
    RAN.clear()
    try:
        run_jobs(WAVES, config, directory, **options)
    finally:
        directory.close()
    return list(RAN)


def files(path):
    """Everything that a run holds, but for what says when it was made."""
    return {
        file.relative_to(path): file.read_text()
        for file in path.rglob("*")
        if file.is_file() and file.name not in (".lock", "environment.json")
    }


def test_the_rows_are_those_of_a_run_that_had_all_seeds_from_the_start(tmp_path):
    go(tmp_path / "whole", 4)
    go(tmp_path / "run", 3)
    ran = go(tmp_path / "run", 4)
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    # The median has moved, the size has not.
    assert [seed for arm, seed in ran if arm == "median"] == [0, 1, 2, 3]
    assert {key for key in ran if key[0] != "median"} == {
        (arm, 3) for arm in ("first", "other", "size", "few")
    }
    assert go(tmp_path / "run", 4) == []


def test_an_arm_that_is_planned_no_more_leaves_nothing(tmp_path):
    go(tmp_path / "whole", 6)
    go(tmp_path / "run", 4)
    assert any(file.parent.name.startswith("few") for file in files(tmp_path / "run"))
    go(tmp_path / "run", 6)
    assert files(tmp_path / "run") == files(tmp_path / "whole")


@pytest.mark.parametrize("told", [0, 2, 8, 14])  # three times a job
def test_an_interruption_and_still_more_seeds_change_nothing(tmp_path, told):
    go(tmp_path / "whole", 4)
    go(tmp_path / "run", 2)
    calls = iter(range(told + 1))

    def stop(part, job, row):
        if next(calls) == told:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", 3, on_progress=stop)
    go(tmp_path / "run", 4)
    assert files(tmp_path / "run") == files(tmp_path / "whole")


@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_crash_while_seeds_are_taken_loses_nothing(tmp_path, monkeypatch, number):
    go(tmp_path / "whole", 4)
    go(tmp_path / "run", 3)
    write, put = rundir.write, rundir.put_aside
    calls = iter(range(100))

    def failing(function):
        def call(*args):
            if next(calls) == number * 3:  # nine jobs stand aside, then come two files
                raise RunError("a crash")
            function(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(rundir, "put_aside", failing(put))
        patch.setattr(rundir, "write", failing(write))
        with pytest.raises(RunError, match="a crash"):
            go(tmp_path / "run", 4)
    ran = go(tmp_path / "run", 4)
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    assert ("first", 0) not in ran
    assert ("size", 0) not in ran


def test_fewer_seeds_and_others_are_refused_in_a_sentence(tmp_path):
    go(tmp_path, 3)
    before = files(tmp_path)
    with pytest.raises(RunError, match="a run of 3 seeds, and this one has 2: seeds are added"):
        go(tmp_path, 2)
    config = FakeConfig(seeds=(1, 0, 2, 3))
    with pytest.raises(RunError, match=r"seeds = \[0, 1, 2\], and this one has \[1, 0, 2, 3\]"):
        RunDirectory.open(tmp_path, WAVES.describe(config, "quick"))
    with pytest.raises(RunError, match="size = 3, and this one has 4"):
        RunDirectory.open(tmp_path, WAVES.describe(FakeConfig(size=4, seeds=(0, 1, 2, 3)), "quick"))
    assert files(tmp_path) == before


def test_a_checkpoint_of_a_job_that_may_be_another_now_is_removed(tmp_path):
    def stop(part, job, row):
        if job.arm == "median" and row is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", 2, on_progress=stop)
    left = tmp_path / "run" / "unfinished" / "median-0"
    left.mkdir(parents=True, exist_ok=True)
    (left / "checkpoint").write_text("of another network")
    seen = []

    def look(part, job, row):
        if (job.arm, job.seed) == ("median", 0) and row is not None:
            seen.append((Path(left) / "checkpoint").exists())

    go(tmp_path / "run", 3, on_progress=look)
    assert seen
    assert not any(seen)
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["seeds"] == [0, 1, 2]
