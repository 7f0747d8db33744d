"""`deqlab diagnose`: a target of the user's own, one sentence for every mistake, and a page."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from deqlab.cli import main
from deqlab.diagnosis import DiagnosisError, diagnose, write_page

MINE = """
import torch

def two(z, x):
    return torch.tanh(2 * z) + 0 * x

def make():
    return (lambda z, x: 0.5 * z + x), torch.ones(3, 2)

def empty():
    return None

def broken():
    raise RuntimeError("no weights\\nat all")

number = 3
"""


@pytest.fixture
def deqlab(tmp_path, monkeypatch, capsys):
    """Run `deqlab diagnose` in a folder with a module `mine`, as the console script does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "raises.py").write_text("raise ImportError('boo\\nsecond line')")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(7)")

    def deqlab(*words):
        monkeypatch.setattr(sys, "argv", ["deqlab", "diagnose", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    yield deqlab
    for name in ("mine", "raises", "leaves"):
        sys.modules.pop(name, None)


def test_findings_are_printed_and_a_page_is_written(deqlab, tmp_path):
    code, out, _ = deqlab("mine:make", "--starts", "0")
    assert code == 0
    assert "One fixed point a sample" in out
    folder = tmp_path / "runs" / "diagnose-mine-make"
    page = (folder / "report.html").read_text()
    assert "Diagnosis of mine:make" in page
    assert "Residual against steps" in page
    assert json.loads((folder / "verdict.json").read_text())["outcome"] == "holds"
    # Another one goes beside it.
    deqlab("mine:make", "--starts", "0")
    assert (tmp_path / "runs" / "diagnose-mine-make-2" / "report.html").is_file()


@pytest.mark.slow
def test_inputs_are_drawn_or_read_and_an_alarm_is_exit_code_3(deqlab, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 1)))
    for words in (["--shape", "2,1"], ["--data", "x.npz"]):
        code, out, _ = deqlab("mine:two", *words, "--gradient", "JacobianFree", "--starts", "1")
        assert code == 3
        assert "JacobianFree is" in out
        assert "several fixed points" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mine"], "a target is MODULE:NAME"),
        (["mine.py:two"], "say mine:two"),
        (["nowhere:two"], "nowhere could not be imported: ModuleNotFoundError"),
        (["raises:two"], "raises could not be imported: ImportError: boo"),
        (["leaves:two"], "leaves could not be imported: SystemExit: 7"),
        (["mine:tow"], "mine has no 'tow'; did you mean 'two'?"),
        (["mine:number"], "mine:number is no function"),
        (["mine:empty"], "must return f, or a tuple"),
        (["mine:broken"], r"mine:broken\(\) raised RuntimeError: no weights"),
        (["mine:two"], "mine:two needs inputs"),
        (["mine:make", "--shape", "3,2"], "returns its inputs itself"),
        (["mine:two", "--shape", "3;2"], "--shape takes sizes with commas"),
        (["mine:two", "--shape", "3,2", "--solver", "Picrd"], "did you mean 'Picard'"),
        (["mine:two", "--shape", "3,2", "--z0-shape", "5,4"], "cannot be evaluated at a state"),
        (["mine:two", "--data", "mine.py"], "--data reads .npy, .npz and .pt"),
        (["mine:two", "--data", "none.npy"], "none.npy could not be read: FileNotFoundError"),
        (["mine:make", "--rtol", "-1"], "--rtol must be 0 or more"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(deqlab, tmp_path, words, says):
    code, _, errors = deqlab(*words)
    assert code == 2
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("deqlab: ")
    assert re.search(says, errors), errors
    assert not (tmp_path / "runs").exists()


def test_a_pickle_in_a_file_of_inputs_is_not_executed(deqlab, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save(Evil(), tmp_path / "x.pt")
    np.save(tmp_path / "x.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    for name in ("x.pt", "x.npy"):
        code, _, errors = deqlab("mine:two", "--data", name)
        assert code == 2
        assert f"{name} could not be read" in errors
    assert not (tmp_path / "executed").exists()


def test_a_page_goes_to_a_folder_of_its_own(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    diagnosis = diagnose(lambda z: torch.rand(()).item() + z, z0=torch.zeros(1, 1), starts=0)
    with pytest.raises(DiagnosisError, match="is not empty"):
        write_page(diagnosis, tmp_path)
    # Of a map that is none there is nothing to show but that.
    page = write_page(diagnosis, tmp_path / "page")
    assert "not deterministic" in page.read_text()


def test_html_in_a_name_is_text(tmp_path):
    diagnosis = diagnose(
        lambda z: 0.5 * z + 1, z0=torch.zeros(2, 1), starts=0, name="<script>alert(1)</script>"
    )
    assert "<script>" not in write_page(diagnosis, tmp_path / "page").read_text()
