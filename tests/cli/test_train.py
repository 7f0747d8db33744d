"""`deqlab train`: lists recipes, runs one, and does not overlook a DEQ that is none."""

import json
import subprocess
import sys

import pytest

from deqlab.recipes import RECIPES


def train(*words, cwd):
    command = [sys.executable, "-m", "deqlab", "train", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_without_a_name_the_recipes_are_listed(tmp_path):
    done = train(cwd=tmp_path)
    assert done.returncode == 0
    for name in RECIPES:
        assert name in done.stdout


@pytest.mark.slow
def test_an_unknown_recipe_is_refused_with_those_that_there_are(tmp_path):
    done = train("conv-fashon", cwd=tmp_path)
    assert done.returncode == 2
    assert "conv-fashion" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_recipe_leaves_a_run_that_the_report_shows(tmp_path):
    done = train("conv-fashion", "--preset", "smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "at its equilibrium" in done.stdout
    run = tmp_path / "runs" / "conv-fashion"
    assert json.loads((run / "verdict.json").read_text())["outcome"] == "not judged"
    report = subprocess.run(
        [sys.executable, "-m", "deqlab", "report", "runs"], cwd=tmp_path, capture_output=True
    )
    assert report.returncode == 0
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "how much comes from the feedback" in page
    assert "Samples at their equilibrium while training" in page


@pytest.mark.slow
def test_a_twin_that_is_iterated_without_an_equilibrium_is_no_failure(tmp_path):
    done = train("deblur", "--preset", "smoke", cwd=tmp_path)
    lines = (tmp_path / "runs/deblur/rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    ends = {row["arm"]: row["converged"] for row in rows if row["kind"] == "summary"}
    assert ends["unrolled-gradient"] < 0.99 <= ends["deq"]
    assert done.returncode == 0, done.stderr
    assert "no DEQ" not in done.stderr


@pytest.mark.slow
def test_a_network_that_leaves_its_equilibrium_cannot_be_overlooked(tmp_path):
    """Planted: no controller, the feedback at its cap, ten times the learning rate."""
    planted = ("--set", "rate=0", "--set", "gain=8", "--set", "learning_rates=0.2")
    smoke = ("conv-fashion", "--preset", "smoke", "--set", "epochs=1")
    done = train(*smoke, *planted, "--set", "policy=raise", cwd=tmp_path)
    assert done.returncode == 3
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("deqlab:")]
    assert "is off its equilibrium at step 20" in sentence
    assert "RateControl" in sentence
    assert "Traceback" not in done.stderr

    done = train(*smoke, "--set", "rate=0", "--set", "gain=8", "--out", "warned", cwd=tmp_path)
    assert done.returncode == 3
    assert "OFF its equilibrium: it is no DEQ" in done.stdout
    assert done.stderr.count("is off its equilibrium at step") == 1
    lines = (tmp_path / "warned/conv-fashion/rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert min(row["train_converged"] for row in rows if row["kind"] == "solves") < 0.9
    (summary,) = [row for row in rows if row["arm"] == "deq" and row["kind"] == "summary"]
    assert summary["slips"] > 0
