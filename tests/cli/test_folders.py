"""Folders that a command chooses: its own run goes on, and no other is in its way."""

import pytest

from deqlab.cli.folders import folder_for, free_folder
from deqlab.runs.opening import RunError
from deqlab.runs.rundir import RunDirectory

ONE, OTHER = ({"format": 1, "experiment": "kernel", "config": {"data": n}} for n in ("a", "b"))


def test_a_run_goes_on_in_its_folder_and_another_one_has_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = folder_for("kernel", "data/x.csv", ONE)
    assert str(first) == "runs/kernel-x.csv"
    RunDirectory.open(first, ONE).close()
    second = folder_for("kernel", "other/x.csv", OTHER)
    assert str(second) == "runs/kernel-x.csv-2"
    RunDirectory.open(second, OTHER).close()
    assert folder_for("kernel", "data/x.csv", ONE) == first
    assert folder_for("kernel", "other/x.csv", OTHER) == second
    assert str(free_folder("kernel", "x.csv")) == "runs/kernel-x.csv-3"
    assert str(free_folder("diagnose", "my:make")) == "runs/diagnose-my-make"


def test_what_is_no_run_or_is_damaged_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = folder_for("kernel", "x" * 300, ONE)
    assert len(folder.name) < 80
    folder.mkdir(parents=True)
    (folder / "notes").write_text("mine")
    with pytest.raises(RunError, match="is not empty and not a run directory"):
        folder_for("kernel", "x" * 300, ONE)
    (folder / "config.json").write_text("{")
    with pytest.raises(RunError, match="is not valid JSON"):
        folder_for("kernel", "x" * 300, ONE)
