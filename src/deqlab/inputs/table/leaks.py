"""Features that may be the target itself, or made of it: a leak, by which every model looks good.

A feature is suspected where a small tree that sees nothing else predicts the target with few faults
on rows that it has not seen; or where the target predicts the feature so, as it does what
was computed from it, even if nothing leads back.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from deqlab.inputs.table.cells import as_days, as_numbers, as_texts
from deqlab.inputs.table.columns import Columns
from deqlab.inputs.table.table import Table
from deqlab.tasks.files.tables.classes import shown

if TYPE_CHECKING:
    import pandas as pd

SUSPECT = 0.95
"""The share of classes right beyond chance from which on a feature is suspected; the petal width of
the irises, which is no leak, has 0.93."""

SUSPECT_NUMBERS = 0.9
"""The R^2 of ranks from which on one is where the target is a number."""

SUSPECT_COPIES = 0.85
"""The share for a feature of as many values as there are classes, which looks like a copy with some
rows corrected since."""

FOLDS, LEAVES = 3, 64


@lru_cache(maxsize=1)  # it is told before training, and in the answer
def suspects(table: Table) -> tuple[str, ...]:
    """Return the features that may be the target, or made of it."""
    return tuple(name for name in table.columns.features if _is_suspect(table, name))


def _is_suspect(table: Table, name: str) -> bool:
    column, numeric = _coded(table.x[[name]], table.columns)
    target = table.y if table.is_regression else np.unique(table.y, return_inverse=True)[1]
    both = [
        (column, target, table.is_regression),
        (target.astype(np.float64), column, numeric),
    ]
    least = SUSPECT
    if table.is_regression:
        least = SUSPECT_NUMBERS
    elif len(np.unique(column)) == len(np.unique(target)):
        least = SUSPECT_COPIES
    return any(_score(x, y, is_regression=number) > least for x, y, number in both)


def _coded(frame: "pd.DataFrame", columns: Columns) -> tuple[np.ndarray, bool]:
    """Return a feature as numbers, missing ones as one more; and whether it is a quantity."""
    (name,) = frame.columns
    if name not in columns.categories:
        numbers = (as_days if name in columns.dates else as_numbers)(frame)[name]
        filled = numbers.fillna(numbers.min() - 1).to_numpy(np.float64)
        return filled, len(np.unique(filled)) > LEAVES
    texts = as_texts(frame).iloc[:, 0].fillna("").to_numpy(dtype=object).astype(str)
    return np.unique(texts, return_inverse=True)[1].astype(np.float64), False


def _score(x: np.ndarray, y: np.ndarray, *, is_regression: bool) -> float:
    """Return how well y follows from x on rows that were held out; 0 is what a constant does."""
    if is_regression:
        tree = DecisionTreeRegressor(max_leaf_nodes=LEAVES, random_state=0)
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        # Ranks: a few far values must not decide how well the others follow.
        return float(np.mean(cross_val_score(tree, x[:, None], rankdata(y), cv=folds)))
    _, y, sizes = np.unique(y, return_inverse=True, return_counts=True)
    if len(sizes) < 2 or sizes.min() < FOLDS:
        return 0.0
    tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    right = float(np.mean(cross_val_score(tree, x[:, None], y, cv=folds)))
    chance = sizes.max() / sizes.sum()
    return float((right - chance) / (1 - chance))


def warnings_of(table: Table) -> Iterator[str]:
    """Yield a sentence for each feature that is suspected."""
    target = shown(table.target)
    for name in map(shown, suspects(table)):
        yield (
            f"Suspicion of a leak: {name} nearly determines {target}, or follows from it; if "
            f"{name} is not known when {target} is to be predicted, leave it out: --drop '{name}'"
        )
