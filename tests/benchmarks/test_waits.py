"""The waits of a solve on a device are few, and the docs say how many."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.waits import FREE, STRIDE, cases

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_device_is_waited_for_once_in_eight_steps_and_the_docs_say_so(tmp_path):
    # In a process of its own: see `tests.pretend_device`.
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.waits", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())
    assert [(row["solver"], row["gradient"]) for row in rows] == [
        (case.solver, case.gradient) for case in cases()
    ]
    for row in rows:
        assert row["waits"] <= FREE + (row["evaluations"] + row["products"]) / STRIDE, row
        if row["gradient"] != "none":
            assert row["waits_backward"] <= FREE + row["steps_backward"] / STRIDE, row
        assert row["same_verdicts"], row
        assert row["difference"] < 1e-5, row
        assert row["gradient_difference"] < 1e-4, row
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    assert done.stdout.strip() in page
