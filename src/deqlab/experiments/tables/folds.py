"""One job of a comparison: an arm on a fold, what it scores there, and what it costs."""

import pickle
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    log_loss,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)
from sklearn.pipeline import Pipeline

from deqlab.costs import flops, num_parameters, peak_memory, seconds
from deqlab.estimators.base import TableEstimator
from deqlab.estimators.equilibrium import DEQClassifier, DEQRegressor
from deqlab.estimators.twins import flops_per_step, twin_width
from deqlab.experiments.base import Job, Row
from deqlab.experiments.comparing.evidence import select
from deqlab.experiments.tables.arms import ARMS, DEQ, search
from deqlab.experiments.tables.config import TablesConfig, folds_of, table_of

MATCHED = {
    name: f"width_of_equal_{arm.cost.lower()}"
    for name, arm in ARMS.items()
    if arm.cost in ("parameters", "FLOPs")
}
"""Explicit networks that cost what the DEQ does, and the field that says how wide they are."""

REPEATS = 5
"""How often predictions are timed."""


def plan(config: TablesConfig, rows: Sequence[Row]) -> list[Job]:
    """Return the arms on all folds: explicit networks when it is known what the DEQ costs."""
    first = [DEQ, *(name for name, arm in ARMS.items() if arm.cost == "baseline")]
    jobs = [Job(arm=name, seed=fold) for name in first for fold in config.seeds]
    deqs = select(rows, arm=DEQ)
    if len(deqs) == len(config.seeds):
        for name, field in MATCHED.items():
            settings = {"width": round(median(row[field] for row in deqs))}
            jobs += [Job(arm=name, seed=fold, settings=settings) for fold in config.seeds]
    return jobs


def later(config: TablesConfig, rows: Sequence[Row]) -> int:
    """Return how many explicit networks wait for the cost of the DEQ."""
    known = len(select(rows, arm=DEQ)) == len(config.seeds)
    return 0 if known else len(MATCHED) * len(config.seeds)


def run(config: TablesConfig, job: Job) -> Iterator[Row]:
    """Choose settings, train, and test on rows that nothing before has seen."""
    table = table_of(config)
    folds = folds_of(config, classes=not table.is_regression)
    train, test = next(islice(folds.split(table.x, table.y), job.seed, None))
    seed = 1000 * config.draw + job.seed
    width = job.settings.get("width")
    model = search(job.arm, table, config, rows=len(train), width=width, seed=seed % 2**32)
    start = time.perf_counter()
    model.fit(table.x.iloc[train], table.y[train])
    taken = time.perf_counter() - start
    best: Pipeline = model.best_estimator_
    x, y = table.x.iloc[test], table.y[test]
    scores = _numbers(best, x, y) if table.is_regression else _classes(best, x, y)
    chosen = {name.rpartition("__")[2]: value for name, value in model.best_params_.items()}
    yield {
        "kind": "summary",
        "label": ARMS[job.arm].label,
        "matching": ARMS[job.arm].cost,
        **scores,
        **chosen,
        **_costs(best, best[:-1].transform(x)),
        "seconds": taken,
    }


def _numbers(model: Pipeline, x: Any, y: np.ndarray) -> Row:  # noqa: ANN401
    found = model.predict(x)
    return {"r2": r2_score(y, found), "rmse": mean_squared_error(y, found) ** 0.5}


def _classes(model: Pipeline, x: Any, y: np.ndarray) -> Row:  # noqa: ANN401
    chances = model.predict_proba(x)
    found = model.classes_[chances.argmax(axis=1)]
    ranked = chances[:, 1] if len(model.classes_) == 2 else chances
    rarest = int(np.argmin([np.sum(y == label) for label in model.classes_]))
    is_rarest = y == model.classes_[rarest]
    return {
        "test_accuracy": accuracy_score(y, found),
        "balanced_accuracy": balanced_accuracy_score(y, found),
        "auc": roc_auc_score(y, ranked, multi_class="ovr", labels=model.classes_),
        "test_loss": log_loss(y, chances, labels=model.classes_),
        "average_precision": average_precision_score(is_rarest, chances[:, rarest]),
    }


def _costs(model: Pipeline, x: np.ndarray) -> Row:
    """Return what the fitted model costs; what is not known of it is left out."""
    estimator = model[-1]
    (each,) = seconds([partial(estimator.predict, x)], REPEATS)
    row: Row = {
        "model_bytes": len(pickle.dumps(estimator)),
        "inference_seconds": 1000 * each / len(x),
    }
    if isinstance(estimator, TableEstimator):
        return row | _costs_of_network(estimator, torch.from_numpy(np.array(x)))
    if hasattr(estimator, "coef_"):
        size = np.size(estimator.coef_)
        row |= {"parameters": size + np.size(estimator.intercept_), "flops": 2 * size}
    return row


def _costs_of_network(estimator: TableEstimator, x: torch.Tensor) -> Row:
    module = estimator.module_
    predict = torch.no_grad()(partial(module, x))
    row: Row = {
        "parameters": num_parameters(module),
        "flops": flops(predict)[0] / len(x),
        "flops_per_step": flops_per_step(estimator),
        "peak_memory_bytes": peak_memory(predict, [*module.parameters(), x]),
        "epochs": len(estimator.history_),
    }
    if isinstance(estimator, DEQClassifier | DEQRegressor):
        found = estimator.solve(x.numpy())
        row |= {
            "converged": found.converged.double().mean().item(),
            "evaluations": found.evaluations,
            "width_of_equal_parameters": twin_width(estimator, "parameters"),
            "width_of_equal_flops": twin_width(estimator, "flops"),
        }
    return row
