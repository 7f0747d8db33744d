"""The command line as a user meets it: real processes, exit codes, one sentence per mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMOKE = ("--preset", "smoke")


@pytest.fixture
def deqlab(tmp_path):
    """Run the command in an empty directory, offline as far as caches go."""

    def deqlab(*words, **variables):
        environment = os.environ | {
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("DEQLAB_DATA", None)
        return subprocess.run(
            [sys.executable, "-m", "deqlab.cli", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | variables,
            timeout=120,
            check=False,
        )

    return deqlab


def written(tmp_path):
    return sorted(p.name for p in tmp_path.iterdir() if p.name != "cache")


def rows(path):
    """Rows without the one field that is a measurement of the machine."""
    lines = (path / "rows.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_help_needs_no_heavy_import_and_half_a_second(tmp_path):
    code = (
        "import sys, deqlab.cli\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'sklearn', 'joblib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "deqlab.cli", "--help"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # of five, because the machine may be busy


def test_every_command_has_help(deqlab):
    for command in ("list", "run", "report", "data"):
        done = deqlab(command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_list_names_every_experiment_and_its_claim(deqlab):
    done = deqlab("list")
    assert done.returncode == 0
    for name in ("images", "sawtooth", "memory"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "sawtoth"), "no experiment named 'sawtoth'; did you mean 'sawtooth'?"),
        (("run", "sawtooth", "--set", "widht=3"), "no field named 'widht'; did you mean 'width'?"),
        (("run", "sawtooth", "--set", "width=a"), "--set width takes an integer"),
        (("run", "sawtooth", "--set", "width=-3"), "width must be at least 1, got -3"),
        (("run", "sawtooth", "--set", "log2_regions=30"), "log2_regions must be at most 20"),
        (("run", "sawtooth", "--preset", "quik"), "no preset named 'quik'; did you mean 'quick'?"),
        (("run", "sawtooth", "--seeds", "0"), "--seeds must be at least 1, got 0"),
        (("run", "sawtooth", "--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("run", "sawtooth", "--out", "/dev/null/runs"), "cannot be written to"),
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
    done = deqlab("run", "memory", "sawtoth", *SMOKE)
    assert done.returncode == 2
    assert written(tmp_path) == []


def test_a_run_and_its_report(deqlab, tmp_path):
    done = deqlab("run", "sawtooth", "memory", *SMOKE, "--out", "here")
    assert done.returncode == 0, done.stderr
    assert "sawtooth: " in done.stdout
    for name in ("sawtooth", "memory"):
        found = {p.name for p in (tmp_path / "here" / name).iterdir()} - {".lock"}
        assert found == {"config.json", "environment.json", "rows.jsonl", "verdict.json"}
    done = deqlab("report", "here")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "here" / "report.html").read_text()
    verdict = json.loads((tmp_path / "here" / "sawtooth" / "verdict.json").read_text())
    assert verdict["sentence"].replace("'", "&#39;") in page
    assert "deqlab run sawtooth memory --preset smoke --out here" in page


def test_another_experiment_or_other_settings_in_the_same_place_are_refused(deqlab, tmp_path):
    assert deqlab("run", "memory", *SMOKE).returncode == 0
    before = (tmp_path / "runs" / "memory" / "rows.jsonl").read_bytes()
    done = deqlab("run", "memory", *SMOKE, "--set", "width=33")
    assert done.returncode == 2
    assert "width = 32, and this one has 33" in done.stderr
    (tmp_path / "runs" / "memory").rename(tmp_path / "runs" / "sawtooth")
    done = deqlab("run", "sawtooth", *SMOKE)
    assert done.returncode == 2
    assert "holds a run of memory, not of sawtooth" in done.stderr
    assert (tmp_path / "runs" / "sawtooth" / "rows.jsonl").read_bytes() == before


def test_worker_processes_leave_the_same_rows(deqlab, tmp_path):
    assert deqlab("run", "sawtooth", *SMOKE, "--seeds", 2, "--out", "one").returncode == 0
    done = deqlab("run", "sawtooth", *SMOKE, "--seeds", 2, "--out", "two", "--jobs", 2)
    assert done.returncode == 0, done.stderr

    def key(row):
        return row["arm"], row["seed"]

    one, two = (sorted(rows(tmp_path / name / "sawtooth"), key=key) for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_the_next_command_finishes_a_run_that_was_stopped(deqlab, tmp_path, number):
    words = ("run", "sawtooth", *SMOKE, "--set", "steps=400", "--seeds", 2, "--out")
    assert deqlab(*words, "whole").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "deqlab.cli", *map(str, words), "cut"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
    )
    file = tmp_path / "cut" / "sawtooth" / "rows.jsonl"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    finished = sum(row["kind"] == "summary" for row in rows(file.parent))
    assert 0 < finished < 6
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"{finished} jobs of sawtooth are saved" in errors
    done = deqlab(*words, "cut")
    assert done.returncode == 0, done.stderr
    assert f"{finished} jobs are done already" in done.stderr.replace("\n", " ")
    assert rows(file.parent) == rows(tmp_path / "whole" / "sawtooth")


def test_data_says_what_is_here(deqlab, tmp_path):
    done = deqlab("data", COLUMNS="200")
    assert done.returncode == 0
    assert "bundled with scikit-learn" in done.stdout
    assert done.stdout.count("missing") == 8
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b truncated")
    done = deqlab("data", "mnist", "--data-dir", "data", COLUMNS="200")
    assert done.returncode == 1
    assert "damaged" in done.stdout


def test_the_report_never_imports_torch(tmp_path):
    code = (
        "import sys\nfrom deqlab.cli import main\nsys.argv = ['deqlab', 'report', 'nowhere']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)


def test_a_console_script_is_installed():
    assert (Path(sys.executable).parent / "deqlab").exists()
