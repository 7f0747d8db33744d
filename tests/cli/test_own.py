"""Experiments of the user's on the command line: run, gone on with, spread over workers, listed."""

import json
import subprocess
import sys

import pytest

from deqlab.cli import main

MINE = """
from dataclasses import replace
from tests.experiments.fake import EXPERIMENT as FAKE, FakeConfig

EXPERIMENT = replace(FAKE, name="of-mine")
CLAIMS = replace(FAKE, name="images")
"""
# As a script of the user's has it: its own config, its own function for a job.
ALONE = """
from dataclasses import dataclass
from deqlab.experiments.base import Experiment, Verdict, cross
from deqlab.experiments.config import Config
from deqlab.experiments.page import Page

@dataclass(frozen=True, kw_only=True)
class MyConfig(Config):
    size: int = 2

def run(config, job):
    yield {"kind": "summary", "label": job.arm, "matching": None, "value": config.size}

EXPERIMENT = Experiment(
    name="alone", title="Alone", claim="It runs.", source="me", origin="asked",
    presets={"quick": MyConfig()}, page=Page(), plan=cross(("a", "b")), run=run,
    judge=lambda config, rows: Verdict(outcome="holds", sentence=f"{len(rows)} rows."),
)
"""


@pytest.fixture
def deqlab(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with modules, in this process, as the console script does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine_too.py").write_text(MINE)
    (tmp_path / "another_too.py").write_text(MINE)

    def deqlab(*words):
        monkeypatch.setattr(sys, "argv", ["deqlab", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    yield deqlab
    for name in ("mine_too", "another_too"):
        sys.modules.pop(name, None)


def test_a_run_of_ones_own_goes_on_and_is_told_from_anothers(deqlab, tmp_path):
    words = ("run", "mine_too:EXPERIMENT", "--set", "size=2", "--seeds", "1")
    code, out, _ = deqlab(*words)
    assert (code, out) == (0, "of-mine: not judged. 6 rows.\n")
    folder = tmp_path / "runs" / "of-mine"
    found = json.loads((folder / "config.json").read_text())
    assert (found["experiment"], found["module"]) == ("of-mine", "mine_too:EXPERIMENT")
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(lines[:3]))  # as if the second job had not ended
    code, out, said = deqlab(*words)
    assert code == 0
    assert "1 job is done already" in said
    assert (folder / "rows.jsonl").read_text() == "".join(lines)
    code, _, said = deqlab("run", "another_too:EXPERIMENT", *words[2:])
    assert code == 2
    assert "holds a run of of-mine of mine_too:EXPERIMENT, not of another_too:EXPERIMENT" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("run", "mine_too:CLAIMS"),
            "calls itself 'images', which is the name of one of deqlab: rename",
        ),
        (("run", "mine_too:FakeConfig"), "is of type type, and experiments are instances of"),
        (("run", "mine_too:EXPERIMENT", "another_too:EXPERIMENT"), "are both called 'of-mine'"),
        (("run", "mine_too:EXPERIMENT", "memry"), "no experiment named 'memry'; did you mean"),
        (("train", "mine_too:EXPERIMENT"), "is of type Experiment, and recipes are instances of"),
        (("train", "nowhere_too:RECIPE"), "nowhere_too could not be imported"),
        (("data", "mine_too:EXPERIMENT"), "is of type Experiment, and data sets are instances"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(deqlab, tmp_path, words, sentence):
    code, out, said = deqlab(*words)
    assert code == 2
    assert out == ""
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_what_packages_register_is_listed_and_what_cannot_be_had_is_told(deqlab, tmp_path):
    info = tmp_path / "good-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: good\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[deqlab.experiments]\nof-mine = mine_too:EXPERIMENT\nlost = nowhere_too:X\n"
    )
    sys.path.insert(0, str(tmp_path))
    code, out, said = deqlab("list")
    assert code == 0
    assert "of-mine" in out
    assert "kernel-spectrum" in out
    assert said.startswith("deqlab: the experiment 'lost' of good cannot be had: nowhere_too could")
    assert said.count("\n") == 1
    assert deqlab("run", "of-mine", "--seeds", "1")[0] == 0


@pytest.mark.slow
def test_workers_have_the_module_too_and_leave_the_same_rows(tmp_path):
    (tmp_path / "alone_too.py").write_text(ALONE)
    script = "import sys; sys.path.pop(0); from deqlab.cli import main; main()"  # a console script
    for jobs in ("1", "2"):
        words = ("run", "alone_too:EXPERIMENT", "--jobs", jobs, "--out", jobs)
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / jobs / "alone" / "rows.jsonl").read_text() for jobs in ("1", "2"))
    assert one == two
