"""What decides a comparison; the target alone says so, before anything is trained.

Accuracy, as long as no class is rare. Where one is, a model that never says so is right on all
other rows, and accuracies hardly differ; so it is asked how well a model ranks rows by how likely
each class is, which the area under the ROC curve tells at any share of the classes. Whichever of
the two does not decide is told beside.
"""

import numpy as np

from deqlab.experiments.comparing.evidence import percent
from deqlab.tasks.files.tables.classes import shown

METRICS = {"test_accuracy": "accuracy", "auc": "area under the ROC curve", "r2": "R^2"}
"""What decides, by its field; higher is better."""

BESIDE = {"test_accuracy": "auc", "auc": "test_accuracy"}
"""What is told beside what decides."""

RARE = 0.4
"""The share of an equal part below which a class is rare: of two classes it is 20 %."""


def metric_of(y: np.ndarray) -> str:
    """Return the field of the rows that decides, by the target."""
    if y.dtype == np.float64:
        return "r2"
    sizes = np.unique(y, return_counts=True)[1]
    return "auc" if sizes.min() < RARE * sizes.mean() else "test_accuracy"


def reason(y: np.ndarray) -> str | None:
    """Say why accuracy does not decide, and how the model finds what is rare; None if it does."""
    if metric_of(y) != "auc":
        return None
    labels, sizes = np.unique(y, return_counts=True)
    rarest = shown(str(labels[sizes.argmin()]))
    return (
        f"Why not accuracy: {rarest} is {percent(sizes.min() / sizes.sum())} of the rows, and a "
        "model that never says so is right on all others; this was fixed before training. To find "
        f"{rarest}, sort rows by predict_proba: predict says it only where it is likeliest."
    )
