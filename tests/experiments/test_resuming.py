"""An interrupted job goes on from its last checkpoint, and leaves the rows of one that was not.

Here a checkpoint is written after every step, and the interruption comes at a given one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deqlab.experiments import EXPERIMENTS, resuming, runner
from deqlab.experiments.base import Job
from deqlab.experiments.comparing import supervised
from deqlab.experiments.matched import matched_networks
from deqlab.runs.rundir import RunDirectory
from deqlab.training import Checkpoint, CheckpointError, Loop, images
from deqlab.training.checkpoints.file import write
from tests.experiments.fake import EXPERIMENT, FakeConfig, run_jobs

TIMES = ("seconds", "speedup")
"""What may differ between two runs."""


@pytest.fixture(autouse=True)
def always_due(monkeypatch):
    monkeypatch.setattr(Checkpoint, "due", property(lambda checkpoint: checkpoint.path is not None))
    for module in (resuming, supervised, images):
        monkeypatch.setattr(module, "SHORT", 0.0)


@pytest.fixture
def steps(monkeypatch):
    """How many steps are taken; the one that is number `stop` never ends."""
    counter, real = {"taken": 0, "stop": None}, Loop._step

    def step(self, *args, **keywords):
        if counter["taken"] == counter["stop"]:
            raise KeyboardInterrupt
        counter["taken"] += 1
        return real(self, *args, **keywords)

    monkeypatch.setattr(Loop, "_step", step)
    return counter


def job_of(name, arm):
    """A job of the smoke preset of an experiment, and a function that runs it in a folder."""
    experiment = EXPERIMENTS[name]
    config = experiment.presets["smoke"]
    (job, *_) = [job for job in experiment.plan(config, []) if job.arm == arm]
    return partial(_rows, name, experiment.run, config, job)


def _rows(name, run, config, job, folder):
    task = runner.Task(part=0, job=replace(job, folder=folder))
    _, rows = runner._work([(name, run, config)], task)
    return [
        {key: value for key, value in row.items() if not any(word in key for word in TIMES)}
        for row in rows
    ]


CASES = [
    ("sawtooth-k3", "deq", 4),  # in the first of two rates
    ("sawtooth-loops", "loop-2", 4),  # when the first budget has ended
    pytest.param("sawtooth-k3", "deq", 6, marks=pytest.mark.slow),  # between them
    pytest.param("images", "deq", 9, marks=pytest.mark.slow),
    pytest.param("sawtooth-k3", "deq", 9, marks=pytest.mark.slow),
    pytest.param("images", "fnn-1-parameters", 20, marks=pytest.mark.slow),
    pytest.param("saliency", "deq", 10, marks=pytest.mark.slow),
    pytest.param("saliency", "deq", 21, marks=pytest.mark.slow),
    pytest.param("open-sawtooth", "monotone-0.01", 2, marks=pytest.mark.slow),
    pytest.param("steep-weights", "deq", 50, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "arm", "stop"), CASES)
def test_the_rows_are_those_of_a_job_that_was_not_interrupted(tmp_path, steps, name, arm, stop):
    pytest.importorskip("captum" if name == "saliency" else "torch")
    run = job_of(name, arm)
    whole = run(None)
    total, steps["taken"], steps["stop"] = steps["taken"], 0, stop
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    steps["taken"], steps["stop"] = 0, None
    assert json.dumps(run(tmp_path)) == json.dumps(whole)
    again = 0 if name != "steep-weights" else 20  # whose attempts are short, and kept whole
    assert total - stop <= steps["taken"] <= total - stop + again


@pytest.mark.slow
def test_a_part_that_is_done_is_not_made_again(tmp_path, monkeypatch):
    run, made = job_of("matched-networks", "relu-plain"), []
    real = matched_networks.train_readout

    def train_readout(readout, *args, **keywords):
        made.append(readout.in_features)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(readout, *args, **keywords)

    whole = run(None)
    monkeypatch.setattr(matched_networks, "train_readout", train_readout)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert run(tmp_path) == whole
    assert made == [32, 64, 64]


@pytest.mark.slow
def test_a_job_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job_of("sawtooth-k3", "deq")(None)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_a_sentence(tmp_path, steps):
    run, steps["stop"] = job_of("sawtooth-k3", "deq"), 3
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"was cut off.*delete it to start again"):
        run(tmp_path)


def test_a_job_says_where_it_goes_on(tmp_path):
    assert resuming.position(tmp_path) is None
    write(tmp_path / "a.safetensors", {"progress": {"step": 1521, "num_steps": 2340}})
    assert resuming.position(tmp_path) == "step 1,521 of 2,340"
    write(tmp_path / "a.safetensors", {"progress": {"rows": []}})
    assert resuming.position(tmp_path) == "the parts of it that are done"
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert "is no checkpoint of deqlab" in resuming.position(tmp_path)


def test_a_job_has_a_folder_until_its_rows_are_written(tmp_path, start):
    seen = []

    def run(config, job):
        job.folder.mkdir(parents=True)
        (job.folder / "note").write_text("on the way")
        seen.append(job.folder.relative_to(tmp_path))
        yield {"kind": "summary", "label": "x", "matching": None}

    experiment = replace(EXPERIMENT, run=run)
    directory = RunDirectory.open(tmp_path, experiment.describe(FakeConfig(), "quick"))
    run_jobs(experiment, FakeConfig(), directory)
    directory.close()
    assert seen[:2] == [Path("unfinished/first-0"), Path("unfinished/first-1")]
    assert not (tmp_path / "unfinished").exists()
    # A crash between the rows and the folder leaves one too many.
    (tmp_path / "unfinished" / "first-0").mkdir(parents=True)
    (tmp_path / "unfinished" / "third-0").mkdir()
    start(tmp_path)
    assert os.listdir(tmp_path / "unfinished") == ["third-0"]


def test_the_folder_is_no_part_of_what_a_job_is():
    assert Job(arm="a", seed=0, folder=Path("x")) == Job(arm="a", seed=0)


def command(path, jobs, *sent):
    return [sys.executable, "-m", "tests.experiments.killed", str(path), str(jobs), *map(str, sent)]


def rows_of(path):
    rows = [json.loads(line) for line in (path / "rows.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in row.items() if not any(word in key for word in TIMES)}
        for row in rows
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run(command(path, 1), check=True, capture_output=True)
    return rows_of(path)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_was_killed_goes_on(tmp_path, undisturbed, jobs, how):
    path, sent = tmp_path / "run", tmp_path / "sent"
    process = subprocess.Popen(command(path, jobs, sent), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(path.glob("unfinished/*/*.safetensors")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(how)
    if how == signal.SIGINT:  # workers of a killed run end with it, where they stand
        sent.touch()
    process.wait(timeout=60)
    assert list(path.glob("unfinished/*/*.safetensors"))
    done = subprocess.run(command(path, jobs), capture_output=True, text=True, check=True)
    assert "goes on from step" in done.stderr
    assert rows_of(path) == undisturbed
    assert not (path / "unfinished").exists()
