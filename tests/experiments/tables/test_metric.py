"""What decides a comparison, where a class is rare and where none is."""

import numpy as np
import pytest

from deqlab.experiments.base import Job
from deqlab.experiments.tables.compare import experiment_of
from deqlab.experiments.tables.config import config_for, folds_of, table_of
from deqlab.experiments.tables.folds import run
from deqlab.experiments.tables.metric import metric_of, reason

pd = pytest.importorskip("pandas")


@pytest.mark.parametrize(
    ("sizes", "metric"),
    [
        ((8, 2), "test_accuracy"),
        ((81, 19), "auc"),
        ((95, 5), "auc"),
        ((59, 71, 48), "test_accuracy"),
        ((45, 45, 10), "auc"),  # the largest is no 80 %, and yet accuracy hardly sees the rarest
        ((10,) * 10, "test_accuracy"),
    ],
)
def test_what_decides_follows_from_the_rarest_class(sizes, metric):
    y = np.repeat([f"<{number}>" for number in range(len(sizes))], sizes)
    assert metric_of(y) == metric
    assert (reason(y) is None) == (metric == "test_accuracy")


def test_a_number_is_decided_by_its_variance():
    y = np.array([1.0, 2.0])
    assert metric_of(y) == "r2"
    assert reason(y) is None


def test_why_is_told_with_the_share_and_the_class():
    told = reason(np.array(["no"] * 95 + ["yes"] * 5))
    assert "yes is 5.0 % of the rows, and a model that never says so is right on all" in told
    assert "To find yes, sort rows by predict_proba" in told


@pytest.fixture
def rare(tmp_path):
    """One row of twenty is yes, where x is large; the classes overlap."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=400)
    yes = np.argsort(np.argsort(x + draw.normal(size=400))) >= 380
    path = tmp_path / "rare.csv"
    pd.DataFrame({"x": x, "churn": np.where(yes, "yes", "no")}).to_csv(path, index=False)
    return config_for(str(path), "churn")


def test_a_rare_class_is_judged_by_ranks(rare):
    """Both areas by their definitions: pairs in order, and the precision at each hit."""
    (row,) = run(rare, Job(arm="linear", seed=0))
    table = table_of(rare)
    _, test = next(folds_of(rare, classes=True).split(table.x, table.y))
    x, yes = table.x["x"].iloc[test].to_numpy(), table.y[test] == "yes"
    assert row["auc"] == pytest.approx(np.mean(x[yes][:, None] > x[~yes][None]))
    hits = yes[np.argsort(-x)]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    assert row["average_precision"] == pytest.approx(precision[hits].mean())
    assert row["auc"] > 0.8
    assert row["test_accuracy"] < 0.97  # as good as no model: 0.95


def test_the_sentence_stands_in_the_answer(rare):
    arms = {"constant": 0.5, "linear": 0.8, "deq": 0.8}
    rows = [
        {"kind": "summary", "arm": arm, "seed": fold, "auc": score + 0.01 * fold, "converged": 1.0}
        | {"test_accuracy": 0.95}
        for arm, score in arms.items()
        for fold in rare.seeds
    ]
    verdict = experiment_of(rare).judge(rare, rows)
    assert verdict.sentence == "No DEQ needed: nothing is surely better than the linear model."
    assert verdict.details[0].startswith("How sure: area under the ROC curve on 10 held-out folds")
    assert verdict.details[1].startswith("Why not accuracy: yes is 5.0 % of the rows")
    assert any(line.startswith("Beside it, and deciding nothing, acc") for line in verdict.details)
