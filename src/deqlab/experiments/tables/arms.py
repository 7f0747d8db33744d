"""The models that are compared on a table, each with four settings to choose from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, ShuffleSplit, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline

from deqlab.estimators.equilibrium import DEQClassifier, DEQRegressor
from deqlab.estimators.explicit import ExplicitClassifier, ExplicitRegressor
from deqlab.experiments.tables.config import TablesConfig
from deqlab.inputs.table.columns import preprocessing
from deqlab.inputs.table.table import Table

CONSTANT, DEQ = "constant", "deq"

SEARCHED = 0.25
"""The share of the training rows on which settings are chosen."""

STEPS, LEAST_BATCH, PATIENCE = 10, 32, 15
"""Steps of an epoch, for batches of at least so many rows; epochs without improvement."""

_NETWORKS = {"learning_rate": [2e-3, 1e-2], "weight_decay": [1e-2, 1.0]}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A model.

    Attributes:
        label: What people call it.
        classes: Makes the estimator of classes.
        numbers: Makes that of a regression.
        grid: The settings that every training chooses from, by name.
        cost: In what it equals the DEQ; None is the DEQ, "baseline" is in nothing.
    """

    label: str
    classes: Callable[..., BaseEstimator]
    numbers: Callable[..., BaseEstimator]
    grid: Mapping[str, list[Any]]
    cost: str | None = "baseline"


def _trees(kind: type[BaseEstimator]) -> Callable[..., BaseEstimator]:
    return lambda **options: kind(max_iter=200, early_stopping=True, **options)


ARMS: dict[str, Arm] = {
    CONSTANT: Arm(
        label="constant",
        classes=lambda random_state: DummyClassifier(),
        numbers=lambda random_state: DummyRegressor(),
        grid={},
    ),
    "linear": Arm(
        label="linear model",
        classes=lambda random_state: LogisticRegression(max_iter=2000),
        numbers=lambda random_state: Ridge(),
        grid={"C": [0.01, 0.1, 1.0, 10.0]},
    ),
    "trees": Arm(
        label="boosted trees",
        classes=_trees(HistGradientBoostingClassifier),
        numbers=_trees(HistGradientBoostingRegressor),
        grid={"learning_rate": [0.03, 0.1], "max_leaf_nodes": [7, 31]},
    ),
    "explicit-parameters": Arm(
        label="explicit network, equal parameters",
        classes=ExplicitClassifier,
        numbers=ExplicitRegressor,
        grid=_NETWORKS,
        cost="parameters",
    ),
    "explicit-flops": Arm(
        label="explicit network, equal FLOPs",
        classes=ExplicitClassifier,
        numbers=ExplicitRegressor,
        grid=_NETWORKS,
        cost="FLOPs",
    ),
    DEQ: Arm(label="DEQ", classes=DEQClassifier, numbers=DEQRegressor, grid=_NETWORKS, cost=None),
}
"""From the simplest to the dearest."""


def search(
    name: str, table: Table, config: TablesConfig, *, rows: int, width: int | None, seed: int
) -> GridSearchCV:
    """Return an arm that chooses its settings on a part of the rows it is fitted on.

    What makes numbers of the columns is fitted with it, on the same rows and no others.

    Args:
        name: The arm.
        table: What it will be fitted on.
        config: The comparison.
        rows: How many rows it will be fitted on.
        width: Of the hidden layers of an explicit network.
        seed: Draws the part, and all else.
    """
    arm = ARMS[name]
    options: dict[str, Any] = {"random_state": seed}
    if arm.grid is _NETWORKS:
        options |= {
            "max_epochs": config.max_epochs,
            "patience": PATIENCE,
            "batch_size": max(LEAST_BATCH, int(rows * (1 - SEARCHED)) // STEPS),
        }
        options |= {"width": config.width} if name == DEQ else {"hidden": (width, width)}
    estimator = (arm.numbers if table.is_regression else arm.classes)(**options)
    model = make_pipeline(preprocessing(table.columns), estimator)
    step, grid = model.steps[-1][0], dict(arm.grid)
    if isinstance(estimator, Ridge):
        grid = {"alpha": [1 / c for c in grid["C"]]}
    part = ShuffleSplit if table.is_regression else StratifiedShuffleSplit
    return GridSearchCV(
        model,
        {f"{step}__{setting}": values for setting, values in grid.items()},
        cv=part(n_splits=1, test_size=SEARCHED, random_state=seed),
        scoring="neg_mean_squared_error" if table.is_regression else "neg_log_loss",
        error_score="raise",
    )
