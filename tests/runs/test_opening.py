"""What a run finds on disk: repaired where a crash did it, else one sentence and no change."""

import json
import os
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deqlab.experiments.base import Job
from deqlab.report import ReportError
from deqlab.report.rows import read_run
from deqlab.runs.reading import MAX_DEPTH, MAX_LINE
from deqlab.runs.rundir import RunDirectory, RunError, check

JOBS = [(arm, seed) for arm in ("first", "second") for seed in (0, 1, 2)]
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def run(start, tmp_path):
    """A finished run."""
    start(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def reopen(run, description):
    """Open the run again, and return it closed."""

    def reopen():
        directory = RunDirectory.open(run, description)
        directory.close()
        return directory

    return reopen


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def lines_of(run):
    return (run / "rows.jsonl").read_text().splitlines(keepends=True)


@pytest.mark.parametrize("lost", range(6))
def test_a_job_that_lost_its_summary_runs_again_and_has_its_rows_once(run, start, reopen, lost):
    whole = lines_of(run)
    summary = 4 * lost + 3  # of each job's four lines the last
    assert '"summary"' in whole[summary]
    (run / "rows.jsonl").write_text("".join(whole[:summary] + whole[summary + 1 :]))
    directory = reopen()
    arm, seed = JOBS[lost]
    assert directory.done == {*JOBS} - {(arm, seed)}
    assert (
        f"3 rows of the unfinished job {arm}, seed {seed}, have been removed"
        in (directory.notes[0])
    )
    assert lines_of(run) == whole[: summary - 3] + whole[summary + 1 :]
    assert not (run / "verdict.json").exists()
    start(run)
    assert lines_of(run) == whole


def test_rows_of_two_attempts_are_not_taken_for_one(run, start, reopen):
    # As a run left it that went on after a summary had been lost.
    whole = lines_of(run)
    (run / "rows.jsonl").write_text("".join(whole[:3] + whole[4:] + whole[:4]))
    assert "7 rows of the unfinished job first, seed 0" in reopen().notes[0]
    start(run)
    assert lines_of(run) == whole


def test_a_job_that_stands_there_twice_counts_once(run, start, reopen):
    whole = lines_of(run)
    (run / "rows.jsonl").write_text("".join([*whole, *whole[:4]]))
    assert "4 rows of first, seed 0, have been removed" in reopen().notes[0]
    start(run)
    assert lines_of(run) == whole


def test_rows_whose_summary_stands_elsewhere_are_kept(run, start, reopen):
    whole = lines_of(run)
    order = sorted(whole, key=lambda line: '"summary"' in line)
    (run / "rows.jsonl").write_text("".join(order))
    directory = reopen()
    assert directory.notes == []
    assert directory.done == {*JOBS}
    calls = []
    start(run, on_progress=lambda *args: calls.append(args))
    assert calls == []
    assert lines_of(run) == whole


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"\xef\xbb\xbf" + data, id="byte order mark"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda data: data.replace(b"\n", b"\n\n \n"), id="blank lines"),
        pytest.param(lambda data: b"\n" + data, id="a blank line first"),
        pytest.param(lambda data: data[:-1], id="no line end"),
    ],
)
def test_what_editors_do_to_a_file_loses_no_row(run, start, reopen, change):
    whole = (run / "rows.jsonl").read_bytes()
    (run / "rows.jsonl").write_bytes(change(whole))
    assert len(read_run(run).jobs) == 6
    directory = reopen()
    assert directory.notes == []
    assert len(directory.rows) == 24
    calls = []
    start(run, on_progress=lambda *args: calls.append(args))
    assert calls == []
    assert len(read_run(run).jobs) == 6


def test_a_line_end_that_was_lost_does_not_join_two_rows(run, description):
    (run / "rows.jsonl").write_bytes((run / "rows.jsonl").read_bytes()[:-1])
    directory = RunDirectory.open(run, description)
    directory.append(Job(arm="third", seed=0), [{"kind": "summary"}])
    directory.close()
    assert len(directory.rows) == len(lines_of(run)) == 25


GOOD = '{"arm": "first", "seed": 9, "kind": "summary"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"arm": 3, "seed": 0, "kind": "step"}', "'arm' must be of type str, got 3"),
        ('{"arm": ["a"], "seed": 0, "kind": "step"}', r"'arm' must be of type str, got \['a'\]"),
        ('{"arm": null, "seed": 0, "kind": "step"}', "'arm' must be of type str, got None"),
        ('{"arm": "a", "seed": "0", "kind": "step"}', "'seed' must be of type int, got '0'"),
        ('{"arm": "a", "seed": 0.0, "kind": "step"}', "'seed' must be of type int, got 0.0"),
        ('{"arm": "a", "seed": true, "kind": "step"}', "'seed' must be of type int, got True"),
        ('{"arm": "a", "seed": [0], "kind": "step"}', "'seed' must be of type int"),
        ('{"arm": "a", "seed": 1e400, "kind": "step"}', "'seed' must be of type int, got None"),
        ('{"arm": "a", "seed": 0, "kind": {}}', "'kind' must be of type str"),
        ('{"arm": "a", "seed": 0}', "'kind' must be of type str, got None"),
        (f'{{"arm": "a", "seed": {"9" * 5000}, "kind": "step"}}', "not readable"),
        (f'{{"arm": "a", "seed": 0, "kind": "step", "x": {DEEP}}}', "nested more than 100 deep"),
        ('"text"', "a row is a JSON object, not a str"),
        (DEEP, "nested more than 100 deep"),
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested more than 100 deep"),
    ],
    ids=str.__len__,
)
@pytest.mark.parametrize("last", [False, True])
def test_a_line_that_is_no_row_is_told_with_its_number_and_nothing_changes(
    run, description, line, message, last
):
    file = run / "rows.jsonl"
    file.write_text(file.read_text() + line + "\n" + ("" if last else GOOD + "\n"))
    before = contents(run)
    with pytest.raises(RunError, match=f"line 25 is damaged: {message}") as told:
        RunDirectory.open(run, description)
    assert "restore the file, or move the run away" in str(told.value)
    assert len(str(told.value)) < 500
    with pytest.raises(ReportError, match=f"line 25 is damaged: {message}"):
        read_run(run)
    assert contents(run) == before


def test_a_line_of_a_gigabyte_is_told_of_and_not_read(run, description):
    # The file has a hole: it takes no disk, and must take no memory.
    with (run / "rows.jsonl").open("r+b") as file:
        file.seek(2**30, os.SEEK_END)
        file.write(b"\n" + GOOD.encode() + b"\n")
    tracemalloc.start()
    with pytest.raises(RunError, match="line 25 is damaged: longer than 64 MiB"):
        RunDirectory.open(run, description)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_LINE
    with pytest.raises(ReportError, match="line 25 is damaged: longer than 64 MiB"):
        read_run(run)


def test_a_huge_seed_is_a_seed(run, description):
    with (run / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"arm": "a", "seed": 10**40, "kind": "summary"}) + "\n")
    directory = RunDirectory.open(run, description)
    directory.close()
    assert ("a", 10**40) in directory.done
    assert read_run(run).jobs[-1].seed == 10**40


DOCUMENTS = [
    ("", "is not valid JSON"),
    ("{", "is not valid JSON"),
    ('{"sess', "is not valid JSON"),
    ("\0" * 100, "is not valid JSON"),
    ("[]", "must hold a JSON object, not a list"),
    ("7", "must hold a JSON object, not a int"),
    (DEEP, "is nested more than 100 deep"),
    (b"\xff\xfe{\0}\0", "is not valid JSON"),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *DOCUMENTS,
        ("{}", "needs a list of JSON objects 'sessions'"),
        ('{"sessions": 5}', "needs a list of JSON objects 'sessions'"),
        ('{"sessions": [1]}', "needs a list of JSON objects 'sessions'"),
    ],
    ids=range(11),
)
def test_a_damaged_environment_is_told_before_anything_runs(run, description, text, message):
    (run / "environment.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(run)
    with pytest.raises(RunError, match=rf"environment\.json {message}.*delete it to go on"):
        RunDirectory.open(run, description)
    with pytest.raises(ReportError, match=rf"environment\.json {message}.*delete it"):
        read_run(run)
    assert contents(run) == before
    (run / "environment.json").unlink()
    directory = RunDirectory.open(run, description)
    directory.begin_session({"command": "again"})
    directory.close()
    assert len(directory.rows) == 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *DOCUMENTS,
        ("{}", "needs a text 'experiment' and a JSON object 'config'"),
        ('{"experiment": "fake", "config": []}', "needs a text 'experiment' and a JSON object"),
        ('{"experiment": ["fake"], "config": {}}', "needs a text 'experiment' and a JSON object"),
        ('{"experiment": "fake", "config": {}, "format": 2}', "has format 2, and this deqlab"),
    ],
    ids=range(12),
)
def test_a_damaged_config_is_told_before_anything_runs(run, description, text, message):
    (run / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(run)
    with pytest.raises(RunError, match=rf"config\.json {message}"):
        RunDirectory.open(run, description)
    with pytest.raises(ReportError, match=r"config\.json"):
        read_run(run)
    assert contents(run) == before


def test_a_config_with_a_byte_order_mark_is_the_same_config(run, reopen):
    (run / "config.json").write_bytes(b"\xef\xbb\xbf" + (run / "config.json").read_bytes())
    assert len(reopen().rows) == 24
    assert read_run(run).config["experiment"] == "fake"


@pytest.mark.parametrize("name", ["config.json", "environment.json", "rows.jsonl", ".lock"])
def test_a_folder_in_the_place_of_a_file_is_one_sentence(run, description, name):
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    with pytest.raises(RunError, match=r"cannot be (read|written to) \(Is a directory\)"):
        RunDirectory.open(run, description)


def test_a_path_that_no_disk_can_have_is_one_sentence(tmp_path, description):
    for path in (tmp_path / ("a" * 5000), tmp_path / ("a" * 300) / "run"):
        with pytest.raises(RunError, match="cannot be written to"):
            RunDirectory.open(path, description)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RunError, match="cannot be written to"):
        RunDirectory.open(tmp_path / "loop", description)


def test_rows_that_cannot_be_written_are_told_of_before_a_job_runs(run, description, monkeypatch):
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: os.fspath(path)[-5:] != "jsonl" and access(path, mode)
    )
    with pytest.raises(RunError, match=r"rows\.jsonl cannot be written to"):
        check(run, description)


def test_what_a_kill_leaves_while_a_run_begins_is_in_nobodys_way(tmp_path, description, start):
    (tmp_path / "run").mkdir()
    for name in (".lock", ".deqlab-71.tmp"):
        (tmp_path / "run" / name).write_text("")
    directory, _ = start(tmp_path / "run")
    assert len(directory.rows) == 24


def test_of_two_that_begin_at_a_time_the_later_keeps_the_config_of_the_first(
    tmp_path, description, monkeypatch
):
    # The first one begins and ends between the look of the second and its lock.
    from deqlab.runs import rundir

    looked = []

    def check_late(path, wanted):
        check(path, wanted)
        if not looked:
            looked.append(path)
            RunDirectory.open(path, {**description, "config": {"size": 4}}).close()

    monkeypatch.setattr(rundir, "check", check_late)
    with pytest.raises(RunError, match="holds a run with seeds = None"):
        RunDirectory.open(tmp_path / "run", description)
    RunDirectory.open(tmp_path / "run", {**description, "config": {"size": 4}}).close()


LINES = st.sampled_from(
    [
        '{"arm": "a", "seed": 0, "kind": "step"}',
        '{"arm": "a", "seed": 0, "kind": "summary"}',
        '{"arm": "b", "seed": 0, "kind": "step"}',
        '{"arm": "b", "seed": 0, "kind": "summary"}',
        '{"arm": "a", "seed": 1, "kind": "summary"}',
        "",
        "\r",
    ]
)
ODD = st.sampled_from(['{"arm": "a", "se', "[]", '{"arm": "a", "seed": 0}', "nul", "\x00", "NaN"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(LINES), st.none() | ODD, st.booleans())
def test_a_run_and_a_report_agree_on_which_rows_count(run, description, lines, last, ended):
    text = "\n".join([*lines, *([] if last is None else [last])]) + ("\n" if ended else "")
    (run / "rows.jsonl").write_text(text)
    try:
        jobs = {(job.arm, job.seed): len(job.rows) for job in read_run(run).jobs}
    except ReportError:
        with pytest.raises(RunError):
            RunDirectory.open(run, description)
        assert (run / "rows.jsonl").read_text() == text
        return
    RunDirectory.open(run, description).close()
    directory = RunDirectory.open(run, description)  # what is repaired needs no repair
    directory.close()
    assert directory.notes == []
    counts = {}
    for row in directory.rows:
        key = row["arm"], row["seed"]
        counts[key] = counts.get(key, 0) + 1
    assert counts == jobs


def test_the_limits_leave_room_for_every_row_of_ours():
    assert MAX_DEPTH >= 10 * 4
    assert MAX_LINE >= 2000 * 32 * 32 * 3 * 10
