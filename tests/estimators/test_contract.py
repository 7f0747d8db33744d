"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from deqlab.estimators import (
    DEQClassifier,
    DEQRegressor,
    ExplicitClassifier,
    ExplicitRegressor,
)

SMALL = {"max_epochs": 20, "patience": 5, "learning_rate": 2e-2, "batch_size": 32}


@pytest.mark.slow
@parametrize_with_checks(
    [
        DEQClassifier(width=8, **SMALL),
        DEQRegressor(width=8, **SMALL),
        ExplicitClassifier(hidden=(8, 8), **SMALL),
        ExplicitRegressor(hidden=(8, 8), **SMALL),
    ]
)
def test_contract(estimator, check):
    check(estimator)
