"""DEQs on tables as scikit-learn estimators, and explicit networks that are trained alike.

They go wherever scikit-learn takes a classifier or a regressor: pipelines, grid search, pickles.
What was fitted is one torch module, `module_`, which takes raw features and exports as a whole.
"""

from deqlab.estimators.base import TableEstimator
from deqlab.estimators.equilibrium import DEQClassifier, DEQRegressor
from deqlab.estimators.explicit import ExplicitClassifier, ExplicitRegressor
from deqlab.estimators.twins import twin

__all__ = [
    "DEQClassifier",
    "DEQRegressor",
    "ExplicitClassifier",
    "ExplicitRegressor",
    "TableEstimator",
    "twin",
]
