"""Rows of the convergence log as named numbers, which is what every experiment tracker takes."""

from typing import Any

OF_THE_MODEL = "deq"
"""Stands for the name of a layer that is the model itself, which has none."""


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of one row of `ConvergenceLog.rows` by "layer/number".

    The names are those that TensorBoard and MLflow take as they are. A model that is itself the
    layer is called "deq".

    Args:
        row: One layer over one interval: "step", "layer", and numbers.

    Example:
        >>> row = {"step": 50, "layer": "encoder.0", "train_converged": 1.0, "evaluations": 9}
        >>> scalars(row)
        {'encoder.0/train_converged': 1.0, 'encoder.0/evaluations': 9.0}
    """
    layer = row["layer"] or OF_THE_MODEL
    return {
        f"{layer}/{name}": float(value)
        for name, value in row.items()
        if name not in ("step", "layer")
    }
