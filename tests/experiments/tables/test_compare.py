"""A comparison on a table, from the file to the saved model."""

import json

import joblib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from deqlab.cli.compare import MODEL, compare_on
from deqlab.experiments.base import Job
from deqlab.experiments.tables.arms import ARMS, search
from deqlab.experiments.tables.config import TablesConfig, config_for, folds_of, table_of
from deqlab.experiments.tables.folds import plan, run
from deqlab.report.html import render
from deqlab.tasks.files.errors import DataError

pd = pytest.importorskip("pandas")

HTML = "<script>alert(1)</script>"


@pytest.fixture
def churn(tmp_path):
    """A file whose names are HTML, with gaps and texts; churn follows from two columns."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 3))
    frame = pd.DataFrame(x, columns=["a", HTML, "c"])
    frame["plan"] = draw.choice(["basic", "<b>pro</b>"], 80)
    frame["churn"] = np.where(x[:, 0] + x[:, 1] > 0, "<i>yes</i>", "no")
    frame.loc[::9, "a"] = np.nan
    path = tmp_path / "my.csv"
    frame.to_csv(path, index=False)
    return path


def config_of(path, **fields):
    return config_for(str(path), "churn", **{"max_epochs": 2, "width": 4} | fields)


def test_explicit_networks_wait_for_what_the_deq_costs(churn):
    config = config_of(churn)
    first = plan(config, [])
    assert len(config.seeds) == 10
    assert {job.arm for job in first} == {"constant", "linear", "trees", "deq"}
    rows = [
        {
            "kind": "summary",
            "arm": "deq",
            "seed": fold,
            "width_of_equal_parameters": 4,
            "width_of_equal_flops": 10 + fold,
        }
        for fold in config.seeds
    ]
    widths = {job.arm: job.settings["width"] for job in plan(config, rows) if job.settings}
    assert widths == {"explicit-parameters": 4, "explicit-flops": 14}


def test_a_job_is_what_scikit_learn_measures_itself(churn):
    """The linear arm on a fold, against cross_val_score on the same rows."""
    config = config_of(churn)
    table = table_of(config)
    (row,) = run(config, Job(arm="linear", seed=3))
    folds = list(folds_of(config, classes=True).split(table.x, table.y))
    assert len(folds) == 10
    model = search("linear", table, config, rows=64, width=None, seed=3)
    (score,) = cross_val_score(model, table.x, table.y, cv=[folds[3]], scoring="accuracy")
    assert row["test_accuracy"] == score
    assert row["parameters"] == row["flops"] / 2 + 1
    assert (row["label"], row["matching"]) == ("linear model", "baseline")


@pytest.mark.slow
def test_a_deq_and_its_twins(churn):
    config = config_of(churn)
    (deq,) = run(config, Job(arm="deq", seed=0))
    (again,) = run(config, Job(arm="deq", seed=0))
    times = {"seconds", "inference_seconds"}
    assert {name: deq[name] for name in deq.keys() - times} == {
        name: again[name] for name in again.keys() - times
    }
    assert deq["converged"] == 1
    assert deq["matching"] is None
    for arm, cost, field in [
        ("explicit-parameters", "parameters", "width_of_equal_parameters"),
        ("explicit-flops", "flops_per_step", "width_of_equal_flops"),
    ]:
        (twin,) = run(config, Job(arm=arm, seed=0, settings={"width": deq[field]}))
        assert twin[cost] == pytest.approx(deq[cost], rel=0.15)


def test_every_arm_of_a_search_has_four_settings():
    for name, arm in ARMS.items():
        sizes = [len(values) for values in arm.grid.values()]
        assert np.prod(sizes) == (1 if name == "constant" else 4)


@pytest.mark.slow
def test_from_the_file_to_the_model(churn, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deqlab.experiments.tables.config.TWICE", 0)
    monkeypatch.chdir(tmp_path)
    options = {"drop": (), "seed": 0, "jobs": 1, "out": None, "command": "deqlab compare"}
    out = compare_on(str(churn), "churn", max_epochs=3, **options)
    assert str(out) == "runs/compare-my.csv"
    said = capsys.readouterr().out
    assert said.startswith("my.csv: 80 rows, 3 numeric + 1 text one-hot columns,")
    assert "compare: " in said
    assert "How sure: accuracy on 5 held-out folds of 80 rows." in said
    assert "Beside it, and deciding nothing, area under the ROC curve (constant 0.500; " in said
    frame = pd.read_csv(churn)
    model = joblib.load(out / MODEL)
    assert model.score(frame, frame["churn"]) > 0.6
    assert HTML in model.feature_names_in_
    page = render([out])
    assert HTML not in page
    assert "<i>yes" not in page
    rows = (out / "rows.jsonl").read_bytes()
    lines = rows.splitlines(keepends=True)
    (out / "rows.jsonl").write_bytes(b"".join(lines[:17]))  # as after a crash
    assert compare_on(str(churn), "churn", max_epochs=3, **options) == out
    again = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    times = {"seconds", "inference_seconds"}
    assert [{k: row[k] for k in row.keys() - times} for row in again] == [
        {k: row[k] for k in row.keys() - times} for row in map(json.loads, lines)
    ]
    capsys.readouterr()


def test_a_file_that_has_changed_is_another_run(churn):
    before = config_of(churn)
    churn.write_text(churn.read_text() + "1,2,3,basic,no\n")
    after = config_of(churn)
    assert before.checksum != after.checksum
    assert len(table_of(after).y) == 81


def test_settings_out_of_their_domain(churn):
    with pytest.raises(ValueError, match="draw must be at least 0"):
        TablesConfig(data="a", draw=-1)
    with pytest.raises(DataError, match="no column 'nope'"):
        config_for(str(churn), "nope")
