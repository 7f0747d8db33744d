"""The command line as a user meets it: exit codes, and one sentence for every mistake."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from deqlab.cli import main
from deqlab.experiments import EXPERIMENTS, GROUPS
from deqlab.experiments.fields import meanings
from deqlab.recipes import RECIPES
from deqlab.tasks import DATASETS
from deqlab.version import __version__

HANGS = 600  # seconds: so long may a busy machine take, and who waits longer waits for ever
SMOKE = ("--preset", "smoke")
SHORT = ("steep-weights", *SMOKE, "--set", "steps=2", "--set", "log2_steepness=1")
"""A run of a second."""


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def deqlab(tmp_path, monkeypatch, capsys):
    """Run a command as the console script does, in an empty directory with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def deqlab(*words):
        # Set and removed again, so that monkeypatch undoes what --data-dir leaves behind.
        monkeypatch.setenv("DEQLAB_DATA", "")
        monkeypatch.delenv("DEQLAB_DATA")
        monkeypatch.setattr(sys, "argv", ["deqlab", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return Done(stop.value.code or 0, said.out, said.err)

    return deqlab


@pytest.fixture
def process(tmp_path):
    """Start a command as a process of its own, without the type checks of the test run."""

    def process(*words, command=("-m", "deqlab")):
        return subprocess.Popen(
            [sys.executable, *command, *map(str, words)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            text=True,
            # A shell that runs the tests in the background leaves them deaf to ctrl-c.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return process


def finish(process):
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 0, errors
    return errors


def written(tmp_path):
    return sorted(p.name for p in tmp_path.iterdir() if p.name != "cache")


def rows(path):
    """Rows without the one field that is a measurement of the machine."""
    lines = (path / "rows.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def packages_loaded_by(code):
    """What `--help` of the command `main` of this code imports, beside the standard library."""
    code = (
        f"import sys\n{code}\nsys.argv = ['deqlab', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*{name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=HANGS
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_no_more_than_the_help_of_any_command():
    # That takes a fifth of a second; torch, numpy or matplotlib would take one to four.
    smallest = "import typer\nmain = typer.Typer()\nmain.command()(lambda: None)"
    loaded = packages_loaded_by("from deqlab.cli import main")
    assert loaded == packages_loaded_by(smallest) | {"deqlab"}


def test_every_command_has_help(deqlab):
    for command in ("list", "run", "kernel", "report", "data"):
        done = deqlab(command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_the_version_is_told(deqlab):
    assert deqlab("--version").stdout == f"deqlab {__version__}\n"


def test_list_fits_a_screen_of_80_columns(deqlab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    lines = re.sub("\x1b\\[[0-9;]*m", "", deqlab("list").stdout).splitlines()
    assert len(lines) <= len(EXPERIMENTS) + 4
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("…") for line in lines)
    assert {line.split()[0] for line in lines if line} >= set(EXPERIMENTS)


def test_list_of_a_group_lists_its_members_uncut_in_a_pipe(deqlab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    said = deqlab("list", "claims").stdout
    for name in GROUPS["claims"]:
        assert f"{name} " in said
        assert f"  {EXPERIMENTS[name].title}\n" in said
    assert "memory" not in said
    assert "deqlab run claims runs them all" in said
    assert "deqlab train lists the recipes" in deqlab("list").stdout


@pytest.mark.parametrize("name", ["sawtooth-k3", "language"])
def test_list_of_a_name_says_what_it_takes(deqlab, name):
    said = " ".join(deqlab("list", name).stdout.split())
    experiment = (EXPERIMENTS | RECIPES)[name]
    assert experiment.claim in said
    for field, meaning in meanings(type(experiment.presets["quick"])).items():
        assert f"{field} " in said
        assert meaning.split()[0] in said
    for preset in experiment.presets:
        assert f"--preset {preset}: " in said


def test_list_of_no_name_suggests_one(deqlab):
    done = deqlab("list", "langage")
    assert done.returncode == 2
    assert "no experiment or recipe named 'langage'; did you mean 'language'?" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "sawtoth-k3"), "no experiment named 'sawtoth-k3'; did you mean 'sawtooth-k3'?"),
        (
            ("run", "sawtooth-k3", "--set", "widht=3"),
            "no field named 'widht'; did you mean 'width'?",
        ),
        (("run", "clams"), "no experiment named 'clams'; did you mean 'claims'?"),
        (("run", "claims", "memry"), "no experiment named 'memry'; did you mean 'memory'?"),
        (("run", "zzzz"), "no experiment named 'zzzz'; known are images, memory, "),
        (("run", "claims", "--set", "curve=ramp"), "no field named 'curve'"),
        (("run", "gotu-f2", "--set", "target=x0*x15"), "x15"),
        (("run", "sawtooth-k3", "--set", "depths=40"), "no FNN of depth 40 comes within 25%"),
        (("run", "sawtooth-k3", "--set", "width=a"), "--set width takes an integer"),
        (("run", "sawtooth-k3", "--set", "width=-3"), "width must be at least 1, got -3"),
        (("run", "sawtooth-k3", "--set", "log2_regions=60"), "log2_regions must be at most 49"),
        (
            ("run", "sawtooth-k3", "--preset", "quik"),
            "no preset named 'quik'; did you mean 'quick'?",
        ),
        (("run", "sawtooth-k3", "--seeds", "0"), "--seeds must be at least 1, got 0"),
        (("run", "sawtooth-k3", "--seeds", "-2"), "--seeds must be at least 1, got -2"),
        (("run", "sawtooth-k3", "--seeds", "99999999999"), "--seeds must be at most 10,000, got"),
        (("kernel", "digits", "--seeds", "99999999999"), "--seeds must be at most 10,000, got"),
        (("run", "sawtooth-k3", "--sweep", "widht=3,4"), "did you mean 'width'?"),
        (("run", "sawtooth-k3", "--sweep", "width"), "--sweep takes FIELD=VALUE,VALUE,..., got"),
        (("run", "sawtooth-k3", "--sweep", "width="), "--sweep width takes one or more values"),
        (("run", "sawtooth-k3", "--sweep", "width=5,,6"), "--sweep width takes one or more values"),
        (("run", "sawtooth-k3", "--sweep", "width=5,x"), "--sweep width takes an integer such as"),
        (("run", "sawtooth-k3", "--sweep", "width=5,-1"), "width must be at least 1, got -1"),
        (("run", "sawtooth-k3", "--sweep", "width=5,05"), "--sweep width has the value 05 twice"),
        (("run", "sawtooth-k3", "--sweep", "seeds=1,2"), "seeds are no setting that is compared"),
        (
            ("run", "sawtooth-k3", "--sweep", "width=5,6", "--set", "width=7"),
            "width is set and swept: leave out --set width or --sweep width",
        ),
        (
            ("run", "sawtooth-k3", "--sweep", "width=5", "--sweep", "gain=1"),
            "--sweep is for one field at a time, got width=5 and gain=1",
        ),
        (("run", "sawtooth-k3", "--jobs", "0"), "--jobs must be at least 1, and at most"),
        (("run", "sawtooth-k3", "--jobs", "99999999999"), "--jobs must be at least 1, and at most"),
        (("run", "sawtooth-k3", "--set", "seeds=-1"), "seeds must be 0 or more, got [-1]"),
        (("run", "sawtooth-k3", "--set", f"seeds={10**30}"), "must be at most 4,294,967,296"),
        (("run", "sawtooth-k3", "--set", "width=99999999"), "width must be at most 1048576"),
        (("run", "sawtooth-k3", "--set", "depths=1,1000000"), "depths must be at most 100, got"),
        (("run", "open-steep", "--set", "width=1000000"), "width must be at most 1000"),
        (("run", "sawtooth-k3", "--set", "gain=nan"), "--set gain takes a number"),
        (("run", "sawtooth-k3", "--out", "x" * 5000), "cannot be written to (File name too long)"),
        (
            ("run", "sawtooth-k3", "--backend", "lokey"),
            "no backend named 'lokey'; did you mean 'loky'?",
        ),
        (("run", "sawtooth-k3", "--out", "/dev/null/runs"), "cannot be written to"),
        (("run", "images", "--data-dir", "nowhere", "--set", "dataset=mnist"), "nowhere"),
        (("report", "nowhere"), "nowhere"),
        (("data", "minst"), "no data set named 'minst'; did you mean 'mnist'?"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_writes_nothing(deqlab, tmp_path, words, sentence):
    done = deqlab(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("deqlab: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert written(tmp_path) == []


def test_a_second_experiment_that_is_wrong_keeps_the_first_from_starting(deqlab, tmp_path):
    done = deqlab("run", "memory", "sawtoth-k3", *SMOKE)
    assert done.returncode == 2
    assert written(tmp_path) == []


def test_a_group_runs_each_of_its_members_once(deqlab, tmp_path, monkeypatch):
    monkeypatch.setitem(GROUPS, "claims", ("steep-weights",))
    few = ("--set", "steps=2", "--set", "log2_steepness=1")
    done = deqlab("run", "claims", "steep-weights", *SMOKE, *few)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "runs") == ["steep-weights"]
    assert done.stdout.startswith("steep-weights: ")
    assert done.stdout.count("steep-weights: ") == 1
    found = json.loads((tmp_path / "runs" / "steep-weights" / "config.json").read_text())
    assert found["origin"] == "published"
    assert found["source"] == EXPERIMENTS["steep-weights"].source
    assert rows(tmp_path / "runs" / "steep-weights")


def test_a_member_of_a_group_that_cannot_run_keeps_all_from_starting(deqlab, tmp_path, monkeypatch):
    monkeypatch.setitem(GROUPS, "claims", ("memory", "sawtooth-k3"))
    done = deqlab("run", "claims", *SMOKE, "--set", "depths=40")  # `memory` has no depths
    assert done.returncode == 2
    assert written(tmp_path) == []


def test_a_run_and_its_report(deqlab, tmp_path):
    done = deqlab("run", "sawtooth-k3", "memory", *SMOKE, "--out", "here")
    assert done.returncode == 0, done.stderr
    assert "sawtooth-k3: " in done.stdout
    for name in ("sawtooth-k3", "memory"):
        found = {p.name for p in (tmp_path / "here" / name).iterdir()} - {".lock"}
        assert found == {"config.json", "environment.json", "rows.jsonl", "verdict.json"}
    sessions = (tmp_path / "here" / "memory" / "environment.json").read_bytes()
    assert deqlab("run", "memory", *SMOKE, "--out", "here").returncode == 0
    # A command that finds nothing to do is no sitting of the run.
    assert (tmp_path / "here" / "memory" / "environment.json").read_bytes() == sessions
    done = deqlab("report", "here")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "here" / "report.html").read_text()
    verdict = json.loads((tmp_path / "here" / "sawtooth-k3" / "verdict.json").read_text())
    assert verdict["sentence"].replace("'", "&#39;") in page
    assert "deqlab run sawtooth-k3 memory --preset smoke --out here" in page


def test_another_experiment_or_other_settings_in_the_same_place_are_refused(deqlab, tmp_path):
    assert deqlab("run", "memory", *SMOKE).returncode == 0
    before = (tmp_path / "runs" / "memory" / "rows.jsonl").read_bytes()
    done = deqlab("run", "memory", *SMOKE, "--set", "width=33")
    assert done.returncode == 2
    assert "width = 32, and this one has 33" in done.stderr
    (tmp_path / "runs" / "memory").rename(tmp_path / "runs" / "sawtooth-k3")
    done = deqlab("run", "sawtooth-k3", *SMOKE)
    assert done.returncode == 2
    assert "holds a run of memory, not of sawtooth-k3" in done.stderr
    assert (tmp_path / "runs" / "sawtooth-k3" / "rows.jsonl").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "package"), [("loky", "joblib"), ("dask", "distributed"), ("ray", "ray")]
)
def test_workers_leave_the_same_rows(process, tmp_path, backend, package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    words = ("run", "sawtooth-k3", *SMOKE, "--seeds", 2, "--out")
    finish(process(*words, "one"))
    finish(process(*words, "two", "--jobs", 2, "--backend", backend))
    one, two = (rows(tmp_path / name / "sawtooth-k3") for name in ("one", "two"))
    assert one == two


# Waits for a signal once the rows of its first job are on the disk, however busy the machine is.
STOPS_AFTER_ONE_JOB = """
import os, signal
from deqlab.cli import main
fsync, rows = os.fsync, "cut/sawtooth-k3/rows.jsonl"

def wait(descriptor):
    fsync(descriptor)
    if os.path.exists(rows) and os.path.samestat(os.fstat(descriptor), os.stat(rows)):
        os.fsync = fsync
        signal.pause()

os.fsync = wait
main()
"""


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, id="batch system", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, id="kill", marks=pytest.mark.slow),
    ],
)
def test_the_next_command_finishes_a_run_that_was_stopped(process, tmp_path, number):
    words = (
        "run",
        "sawtooth-k3",
        *SMOKE,
        "--set",
        "steps=100",
        "--set",
        "learning_rates=0.01",
        "--seeds",
        2,
        "--out",
    )
    finish(process(*words, "whole"))
    stopped = process(*words, "cut", command=("-c", STOPS_AFTER_ONE_JOB))
    file = tmp_path / "cut" / "sawtooth-k3" / "rows.jsonl"
    while stopped.poll() is None and not (file.exists() and file.stat().st_size):
        time.sleep(0.02)
    stopped.send_signal(number)
    _, errors = stopped.communicate(timeout=HANGS)
    finished = sum(row["kind"] == "summary" for row in rows(file.parent))
    assert finished == 1
    if number != signal.SIGKILL:
        assert stopped.returncode == 130
        assert "1 job of sawtooth-k3 is saved" in errors
    assert "1 job is done already" in finish(process(*words, "cut"))
    assert rows(file.parent) == rows(tmp_path / "whole" / "sawtooth-k3")


def test_the_kernel_of_a_file_ends_in_a_report(deqlab, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(60, 20)), labels=np.arange(60) % 2)
    words = ("kernel", "x.npz", "--activation", "tanh", "--kind", "tangent", "--width", 32)
    done = deqlab(*words, "--out", "here")
    assert done.returncode == 0, done.stderr
    assert "HardTanh(a=" in done.stdout
    assert "Step sizes of its weights" in done.stdout
    assert "times its time" in done.stdout
    page = (tmp_path / "here" / "report.html").read_text(encoding="utf-8")
    assert "The kernel of a tanh DEQ on x.npz" in page
    assert "deqlab kernel x.npz" in page

    np.savez(tmp_path / "x.npz", x=rng.normal(size=(60, 20)), labels=np.arange(60) % 2)
    done = deqlab(*words, "--out", "here")
    assert done.returncode == 2
    assert "holds a run with checksums" in done.stderr


TABLE = "a,b,c,<b>churn\x1b[31m\n" + "".join(
    f"{i % 7},{i * i % 11},{i % 13},{'no' if i % 2 else 'yes'}\n" for i in range(60)
)
"""A file of text whose labels have a hostile name."""


def test_the_kernel_of_a_table_says_what_it_understood(deqlab, tmp_path):
    (tmp_path / "x.csv").write_text(TABLE)
    done = deqlab("kernel", "x.csv", "--width", 0)
    assert done.returncode == 2  # it may be the label, and is no feature in silence
    assert r"does not say which column holds the classes, and <b>churn\x1b[31m (2" in done.stderr
    assert done.stderr.count("\n") == 1
    done = deqlab("kernel", "x.csv", "--label", "<b>churn\x1b[31m", "--width", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        r"x.csv: 60 rows, 3 numeric columns, 2 classes of <b>churn\x1b[31m (yes 50 %, no 50 %); "
        "numbers standardised (--as-is leaves them)."
    )
    assert re.search(r"\d{5,}(\.\d+)? ?%", done.stdout) is None  # numbers that a person can read
    page = (tmp_path / "runs" / "kernel-x.csv" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;churn" in page
    assert "<b>churn" not in page
    # Another file goes to a directory of its own, even of the same name; the same one goes on.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.csv").write_text(TABLE.replace("<b>churn\x1b[31m", "y"))
    for _ in range(2):
        assert deqlab("kernel", "other/x.csv", "--width", 0).returncode == 0
    assert written(tmp_path / "runs") == ["kernel-x.csv", "kernel-x.csv-2"]


def test_a_name_that_is_no_utf_8(process, tmp_path):
    name = os.fsdecode(b"gr\xf6sse.csv")
    (tmp_path / name).write_text(TABLE.replace("<b>churn\x1b[31m", "y"))
    finish(process("kernel", name, "--width", 0, "--out", os.fsdecode(b"l\xf6sung")))
    page = (tmp_path / os.fsdecode(b"l\xf6sung") / "report.html").read_bytes()
    assert "sse.csv" in page.decode("utf-8")


def test_an_error_is_one_line_whatever_a_file_is_called(deqlab):
    done = deqlab("kernel", "a\nb\x1b[31m.csv")
    assert done.returncode == 2
    assert done.stderr == "deqlab: a\\nb\\x1b[31m.csv does not exist, or is no file\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("mnits",), "no data set is named 'mnits'; known are mixture, digits"),
        (("nowhere:SET",), "nowhere could not be imported: ModuleNotFoundError"),
        (("iris", "--label", "a", "--no-label"), "--label and --no-label contradict each other"),
        (("absent.npy",), "absent.npy does not exist"),
        (("digits", "--label", "y"), "--label is for files; the classes of digits are known"),
        (("digits", "--classes", "6,x"), "--classes takes numbers such as 6,8; got '6,x'"),
        (("digits", "--classes", "6,17"), "digits has classes 0 to 9, not 17"),
        (("mixture", "--activation", "sine"), "activation is one of relu, tanh"),
        (("mixture", "--sigma-a2", "1.5"), "sigma_a2 must be in [0, 1), got 1.5"),
        (("mixture", "--dimension", "99999999999"), "dimension must be at most 1048576"),
        (("mixture", "--seeds", 0), "seeds needs at least one number"),
    ],
)
def test_mistakes_in_asking_for_a_kernel(deqlab, tmp_path, words, sentence):
    done = deqlab("kernel", *words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert written(tmp_path) == []


@pytest.mark.slow
def test_the_jobs_of_a_worker_that_is_killed_run_again(process, tmp_path):
    few = ("--set", "steps=30", "--set", "learning_rates=0.01", "--seeds", 3)
    words = ("run", "sawtooth-k3", *SMOKE, *few, "--out")
    finish(process(*words, "whole"))
    cut = process(*words, "cut", "--jobs", 2)
    file = tmp_path / "cut" / "sawtooth-k3" / "rows.jsonl"
    deadline = time.monotonic() + 100
    while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [
        int(pid)
        for pid in Path(f"/proc/{cut.pid}/task/{cut.pid}/children").read_text().split()
        if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    errors = finish(cut)
    assert "Traceback" not in errors
    assert "a worker was killed, as the system does when memory runs out; what it did" in errors
    assert rows(file.parent) == rows(tmp_path / "whole" / "sawtooth-k3")


def test_a_name_that_is_no_utf_8_goes_from_the_command_to_the_page(deqlab, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    assert deqlab("run", *SHORT, "--out", name).returncode == 0
    done = deqlab("report", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "caf\\udce9/report.html: open it in a browser\n"
    assert "deqlab run steep-weights" in (tmp_path / name / "report.html").read_text(
        encoding="utf-8"
    )
    done = deqlab("run", *SHORT, "--out", name, "--set", "width=5")
    assert done.returncode == 2
    assert done.stderr.startswith("deqlab: caf\\udce9/steep-weights holds a run with width = 4")


def test_a_terminal_that_cannot_show_a_letter_gets_its_number(tmp_path):
    words = [sys.executable, "-m", "deqlab", "report", "für"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(rb"deqlab: f\xfcr is not a directory")


def test_a_report_that_cannot_be_written_keeps_the_one_before(deqlab, tmp_path, monkeypatch):
    assert deqlab("run", *SHORT).returncode == 0
    page = tmp_path / "runs" / "report.html"
    page.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        done = deqlab("report", "runs")
    assert done.returncode == 2
    assert done.stderr.endswith("report.html cannot be written to (No space left on device)\n")
    assert page.read_text() == "old"
    assert written(tmp_path / "runs") == ["report.html", "steep-weights"]
    for place in ("runs", "nowhere/page.html"):
        done = deqlab("report", "runs", "--out", place)
        assert done.returncode == 2
        assert f"{place} cannot be written to" in done.stderr
    assert deqlab("report", "runs").returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


DAMAGE = [
    ("environment.json", '{"sess', "environment.json is not valid JSON"),
    ("config.json", "[" * 10**5, "config.json is nested more than 100 deep"),
    ("rows.jsonl", '{"arm": 3, "seed": 0, "kind": "step"}\n', "line 1 is damaged: 'arm'"),
    ("rows.jsonl", '{"arm": "a", "seed": true, "kind": "step"}\n', "line 1 is damaged: 'seed'"),
    ("rows.jsonl", "[" * 10**5 + "\n", "line 1 is damaged: nested more than 100 deep"),
]


def test_a_damaged_run_is_one_sentence_for_a_run_and_for_a_report(deqlab, tmp_path):
    assert deqlab("run", *SHORT).returncode == 0
    for name, text, sentence in DAMAGE:
        file = tmp_path / "runs" / "steep-weights" / name
        before = file.read_text()
        file.write_text(text)
        for words in (("run", *SHORT), ("report", "runs")):
            done = deqlab(*words)
            assert done.returncode == 2
            assert done.stdout == ""
            assert done.stderr.startswith("deqlab: ")
            assert done.stderr.count("\n") == 1
            assert sentence in done.stderr
        assert file.read_text() == text
        file.write_text(before)
    assert written(tmp_path / "runs") == ["steep-weights"]


def test_data_says_what_is_here(deqlab, tmp_path):
    done = deqlab("data")
    assert done.returncode == 0
    assert "bundled with scikit-learn" in done.stdout
    assert done.stdout.count("missing") == sum(len(d.files) for d in DATASETS.values()) >= 9
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b truncated")
    done = deqlab("data", "mnist", "--data-dir", "data")
    assert done.returncode == 1
    assert "damaged" in done.stdout


def test_the_report_never_imports_torch(tmp_path):
    code = (
        "import sys\nfrom deqlab.cli import main\nsys.argv = ['deqlab', 'report', 'nowhere']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=HANGS)


def test_a_console_script_is_installed():
    assert (Path(sys.executable).parent / "deqlab").exists()
