"""A run can stop anywhere, by a signal or a crash, and ends with the rows of one that did not."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deqlab.experiments.base import Job, Verdict
from deqlab.runs.rundir import RunDirectory, RunError
from tests.experiments.fake import EXPERIMENT, FakeConfig

VERDICT = Verdict(outcome="holds", sentence="So it does.")


def rows_of(path):
    return (path / "rows.jsonl").read_text()


@pytest.fixture
def whole(start, tmp_path):
    """The rows of a run that was not interrupted."""
    start(tmp_path / "whole")
    return rows_of(tmp_path / "whole")


def interrupt_after(num_jobs):
    def on_progress(part, job, row):
        if row is not None and len(part.run.done) == num_jobs:
            raise KeyboardInterrupt

    return on_progress


@pytest.mark.parametrize("num_jobs", range(6))
def test_an_interrupted_run_goes_on_to_the_same_rows(start, tmp_path, whole, num_jobs):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start(path, on_progress=interrupt_after(num_jobs))
    assert not (path / "verdict.json").exists()
    start(path)
    assert rows_of(path) == whole


def test_whoever_finishes_first_the_file_is_that_of_one_process(
    start, tmp_path, description, whole
):
    rows = [json.loads(line) for line in whole.splitlines()]
    directory = RunDirectory.open(tmp_path / "run", description)
    for seed in (2, 0, 1):  # of the first arm; the second is planned afterwards
        job = Job(arm="first", seed=seed)
        directory.append(job, [row for row in rows if (row["arm"], row["seed"]) == ("first", seed)])
    directory.close()
    directory, _ = start(tmp_path / "run")
    assert rows_of(tmp_path / "run") == whole
    assert directory.rows == rows


def test_rows_of_a_job_that_nobody_planned_are_told_of(start, tmp_path, description, whole):
    directory = RunDirectory.open(tmp_path / "run", description)
    directory.append(Job(arm="older", seed=7), [{"kind": "summary", "label": "older"}])
    directory.close()
    with pytest.raises(RunError, match="has rows of older, seed 7, which is not planned"):
        start(tmp_path / "run")
    older, *rest = rows_of(tmp_path / "run").splitlines(keepends=True)
    assert '"older"' in older
    assert "".join(rest) == whole
    assert not (tmp_path / "run" / "verdict.json").exists()


def test_a_disk_that_fills_when_all_is_done_loses_nothing(
    start, tmp_path, description, monkeypatch, whole
):
    start(tmp_path / "run")
    directory = RunDirectory.open(tmp_path / "run", description)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    backwards = [Job(arm=arm, seed=seed) for arm in ("second", "first") for seed in (2, 1, 0)]
    for write in (partial(directory.arrange, backwards), partial(directory.finish, VERDICT)):
        with pytest.raises(RunError, match=r"could not be written \(No space left on device\)"):
            write()
    directory.close()
    assert rows_of(tmp_path / "run") == whole
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.slow
def test_every_crash_while_writing_is_repaired_to_the_same_rows(start, tmp_path, whole):
    # A crash can cut the file at any byte; this one tries every 29th, and both ends.
    path = tmp_path / "run"
    start(path)
    for cut in [*range(0, len(whole), 29), len(whole) - 1]:
        (path / "rows.jsonl").write_text(whole[:cut])
        start(path)
        assert rows_of(path) == whole


def test_a_half_written_line_is_removed_and_said(start, tmp_path, description, whole):
    path = tmp_path / "run"
    start(path)
    (path / "rows.jsonl").write_text(whole[:-10])
    directory = RunDirectory.open(path, description)
    directory.close()
    assert "the last line was half written" in directory.notes[0]
    assert "3 rows of the unfinished job second, seed 2" in directory.notes[1]
    assert len(directory.done) == 5
    assert not (path / "verdict.json").exists()


def test_a_full_disk_is_one_sentence_and_loses_nothing(start, tmp_path, description, monkeypatch):
    directory = RunDirectory.open(tmp_path / "run", description)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        directory.append(Job(arm="first", seed=0), [{"kind": "summary"}])
    directory.close()


def test_a_finished_run_does_nothing_again(start, tmp_path):
    start(tmp_path / "run")
    calls = []
    start(tmp_path / "run", on_progress=lambda *args: calls.append(args))
    assert calls == []


def test_rows_damaged_in_the_middle_are_refused_and_left_alone(start, tmp_path, description):
    path = tmp_path / "run"
    start(path)
    lines = rows_of(path).splitlines(keepends=True)
    damaged = "".join([*lines[:3], lines[3][:5] + "\n", *lines[4:]])
    (path / "rows.jsonl").write_text(damaged)
    with pytest.raises(RunError, match=r"line 4 is damaged: not valid JSON.*restore the file"):
        RunDirectory.open(path, description)
    assert rows_of(path) == damaged


def test_valid_json_that_is_no_row_is_damage_too(start, tmp_path, description):
    path = tmp_path / "run"
    start(path)
    (path / "rows.jsonl").write_text("[1, 2]\n" + rows_of(path))
    with pytest.raises(RunError, match="line 1 is damaged: a row is a JSON object, not a list"):
        RunDirectory.open(path, description)


def test_numbers_that_are_not_finite_become_null(start, tmp_path):
    directory, _ = start(tmp_path / "run")
    last = json.loads(rows_of(tmp_path / "run").splitlines()[-1])
    assert last["value"] is None
    assert directory.rows[-1] == last


def test_a_run_of_another_experiment_is_refused(start, tmp_path, description):
    start(tmp_path / "run")
    with pytest.raises(RunError, match="holds a run of fake, not of other"):
        RunDirectory.open(tmp_path / "run", description | {"experiment": "other"})


def test_a_run_with_other_settings_is_refused(start, tmp_path):
    start(tmp_path / "run")
    with pytest.raises(RunError, match="size = 3, and this one has 4"):
        RunDirectory.open(tmp_path / "run", EXPERIMENT.describe(FakeConfig(size=4), "quick"))


def test_a_file_or_a_folder_of_something_else_is_refused(tmp_path, description):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        RunDirectory.open(tmp_path / "file", description)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run directory"):
        RunDirectory.open(tmp_path / "folder", description)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["thesis.tex"]


def test_a_directory_that_cannot_be_written_is_refused(tmp_path, description):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        RunDirectory.open(tmp_path / "file" / "run", description)


def test_a_second_writer_is_refused(tmp_path, description):
    first = RunDirectory.open(tmp_path / "run", description)
    with pytest.raises(RunError, match="in use by another deqlab run"):
        RunDirectory.open(tmp_path / "run", description)
    first.close()
    RunDirectory.open(tmp_path / "run", description).close()


def test_config_that_is_not_readable_is_refused(tmp_path, description):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json is not valid JSON"):
        RunDirectory.open(tmp_path, description)


def test_each_sitting_is_recorded(tmp_path, description):
    directory = RunDirectory.open(tmp_path / "run", description)
    directory.begin_session({"command": "first"})
    directory.begin_session({"command": "second"})
    directory.close()
    sessions = json.loads((tmp_path / "run" / "environment.json").read_text())["sessions"]
    assert [session["command"] for session in sessions] == ["first", "second"]


ROWS = st.lists(
    st.fixed_dictionaries(
        {"kind": st.just("step")},
        optional={"value": st.floats(), "pixels": st.lists(st.lists(st.floats() | st.none()))},
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS, st.text(), st.integers(0, 2**32))
def test_rows_of_this_process_are_those_that_the_next_one_reads(tmp_path, rows, arm, seed):
    (tmp_path / "run" / "rows.jsonl").unlink(missing_ok=True)
    directory = RunDirectory.open(tmp_path / "run", EXPERIMENT.describe(FakeConfig(), "quick"))
    directory.append(Job(arm=arm, seed=seed), [*rows, {"kind": "summary", "x": (math.inf, 1)}])
    kept = directory.rows
    directory.look_again()
    directory.close()
    assert directory.rows == kept
    assert kept[-1] == {"arm": arm, "seed": seed, "kind": "summary", "x": [None, 1]}
    assert len(kept) == len(rows) + 1


def test_a_number_in_a_list_that_is_not_finite_is_null_there(tmp_path, description):
    directory = RunDirectory.open(tmp_path / "run", description)
    lists = {"pixels": [[math.nan, 0.5], [math.inf, 1.0]], "maps": {"area": [-math.inf]}}
    directory.append(Job(arm="a", seed=0), [{"kind": "summary", **lists}])
    directory.close()
    (line,) = rows_of(tmp_path / "run").splitlines()
    read = json.loads(line, parse_constant=pytest.fail)
    assert read["pixels"] == [[None, 0.5], [None, 1.0]]
    assert read["maps"] == {"area": [None]}
    assert directory.rows == [read]


@pytest.mark.parametrize(
    ("arm", "rows", "message"),
    [
        ("a", [{"kind": "step"}], "the last row of a job, and no other, is of kind 'summary'"),
        ("a", [], "the last row of a job, and no other, is of kind 'summary'"),
        ("a", [{"kind": "summary"}, {"kind": "step"}], "the last row of a job, and no other"),
        ("a", [{"kind": "summary"}, {"kind": "summary"}], "the last row of a job, and no other"),
        ("a", [{"kind": "summary", "x": {1}}], "set is not JSON serializable"),
        ("a", [{"kind": "summary", "x": {1: 2}}], "a name in JSON is a text, not 1"),
        ("a", [{"kind": "summary", "arm": 3}], "'arm' must be of type str, got 3"),
        ("a", [{"kind": "summary", "arm": "b"}], "the last row of a job, and no other"),
        ("a", [{"kind": "summary", "x": "x" * 100}], "longer than 0 MiB"),
    ],
    ids=range(9),
)
def test_rows_that_could_not_be_read_again_are_not_written(
    tmp_path, description, monkeypatch, arm, rows, message
):
    monkeypatch.setattr("deqlab.runs.reading.MAX_LINE", 90)
    directory = RunDirectory.open(tmp_path / "run", description)
    with pytest.raises(RunError, match=message):
        directory.append(Job(arm=arm, seed=0), rows)
    directory.close()
    assert not (tmp_path / "run" / "rows.jsonl").exists()
    assert directory.rows == []


def test_a_name_that_is_no_utf_8_goes_through_rows_and_sessions(tmp_path, description):
    name = os.fsdecode(b"caf\xe9")
    path = tmp_path / name
    directory = RunDirectory.open(path, {**description, "config": {"data": name}})
    directory.begin_session({"command": f"deqlab kernel {name}"})
    directory.append(Job(arm=name, seed=0), [{"kind": "summary", "label": name}])
    directory.close()
    again = RunDirectory.open(path, {**description, "config": {"data": name}})
    again.close()
    assert again.rows == directory.rows == [json.loads(rows_of(path))]
    assert again.done == {(name, 0)}
    for file in ("config.json", "environment.json", "rows.jsonl"):
        assert "caf\\udce9" in (path / file).read_bytes().decode("utf-8")
    with pytest.raises(RunError, match="holds a run with data"):
        RunDirectory.open(path, {**description, "config": {"data": "café"}})


LIMITED = """
import resource, sys
from pathlib import Path
from deqlab.experiments.base import Job
from deqlab.runs.rundir import RunDirectory
run = RunDirectory.open(Path(sys.argv[1]), {"format": 1, "experiment": "e", "config": {}})
run.append(Job(arm="a", seed=0), [{"kind": "summary", "x": "x" * 1000}])
resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))  # where a disk would be full
for seed in (1, 2):
    run.append(Job(arm="a", seed=seed), [{"kind": "summary", "x": "x" * 1000}])
"""


@pytest.mark.slow
def test_a_disk_that_is_full_in_the_middle_of_a_row_keeps_the_rows_before(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "RunError" in done.stderr
    assert "rows.jsonl could not be written (File too large); the jobs before are" in done.stderr
    assert len(rows_of(tmp_path / "run")) == 2500  # and a half-written line
    run = RunDirectory.open(tmp_path / "run", {"format": 1, "experiment": "e", "config": {}})
    run.close()
    assert run.done == {("a", 0), ("a", 1)}


HOLD = """
import sys
from pathlib import Path
from deqlab.runs.rundir import RunDirectory
run = RunDirectory.open(Path(sys.argv[1]), {"format": 1, "experiment": "e", "config": {}})
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_another_process_has_the_run_until_it_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    description = {"format": 1, "experiment": "e", "config": {}}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(RunError, match="in use by another deqlab run"):
            RunDirectory.open(tmp_path / "run", description)
        other.kill()
        other.wait()
    RunDirectory.open(tmp_path / "run", description).close()


def left(directory, job, text):
    directory.folder(job).joinpath("results").mkdir(parents=True)
    replaced = replace(job, folder=directory.folder(job))
    assert replaced.results is not None
    (replaced.results / "file").write_text(text)


def test_what_a_job_leaves_for_good_stays_with_the_run(tmp_path, description):
    job = Job(arm="first", seed=1)
    directory = RunDirectory.open(tmp_path / "run", description)
    left(directory, job, "old")
    directory.clear(job)
    left(directory, job, "new")
    directory.clear(job)
    directory.close()
    assert (tmp_path / "run" / "results" / "first-1" / "file").read_text() == "new"
    assert not (tmp_path / "run" / "unfinished").exists()
    assert job.results is None


def test_a_crash_between_the_rows_and_the_results_loses_none(tmp_path, description, whole):
    rows = [json.loads(line) for line in whole.splitlines()]
    job = Job(arm="first", seed=1)
    directory = RunDirectory.open(tmp_path / "run", description)
    left(directory, job, "kept")
    directory.append(job, [row for row in rows if (row["arm"], row["seed"]) == ("first", 1)])
    directory.close()
    RunDirectory.open(tmp_path / "run", description).close()
    assert (tmp_path / "run" / "results" / "first-1" / "file").read_text() == "kept"
