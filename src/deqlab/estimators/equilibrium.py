"""DEQs on tables: the equilibrium of one dense cell that contracts, and a linear readout of it.

    z = relu(W z + U x + b),  |W|_2 <= bound < 1,    answers = C z + c

The bound is kept by the parametrisation (`SpectralNorm`) at every step of training, so that each
row has one equilibrium, which a certificate says of the trained network.
"""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count, check_number, check_positive
from deqlab.estimators.base import TableClassifier, TableEstimator, TableRegressor
from deqlab.nn.cells.constraints import SpectralNorm
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson
from deqlab.stability.certificate import Certificate

MAX_STEPS = 200
"""Anderson's method takes about 17 at the settings that are the default, and Picard's below 100."""


class _Equilibrium(TableEstimator):
    """The body of both: settings `width`, `bound` and `rtol`."""

    width: Any
    bound: Any
    rtol: Any

    @override
    def _body(self, num_inputs: int, num_outputs: int) -> nn.Module:
        check_count("width", self.width)
        check_positive("rtol", self.rtol)
        check_number("bound", self.bound)
        if not 0 < self.bound < 1:
            raise ValueError(f"bound must lie between 0 and 1, where f contracts, got {self.bound}")
        cell = DenseCell(num_inputs, self.width, constraint=SpectralNorm(self.bound))
        solver = Anderson(rtol=self.rtol, max_steps=MAX_STEPS)
        layer: DEQ[Tensor] = DEQ(cell, solver=solver, name=type(self).__name__)
        return nn.Sequential(layer, nn.Linear(self.width, num_outputs))

    def solve(self, X: Any) -> Solution[Tensor]:  # noqa: ANN401, N803
        """Return the equilibrium of each row, (N, width), with its verdict."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        with torch.no_grad():
            return _layer_of(self).solve(self.module_.standardised(torch.tensor(x)))

    def certificate(self) -> Certificate:
        """Return what is proved of the trained cell: one equilibrium for every row."""
        check_is_fitted(self)
        cell = _layer_of(self).cell
        assert isinstance(cell, DenseCell)
        return cell.certificate()


def _layer_of(estimator: _Equilibrium) -> DEQ[Tensor]:
    layer = estimator.module_.body.get_submodule("0")
    assert isinstance(layer, DEQ)
    return layer


class DEQClassifier(_Equilibrium, TableClassifier):
    """A classifier by the equilibrium of a cell that contracts.

    Args:
        width: Numbers of the state z, at least 1.
        bound: The largest spectral norm of W, between 0 and 1.
        rtol: The relative tolerance of the solves, more than 0.
        class_weight: None; "balanced", by which each class weighs the same; or the weight of each
            class by its label.
        learning_rate: See `TableEstimator`, as for all that follow.
        weight_decay: Likewise.
        batch_size: Likewise.
        max_epochs: Likewise.
        patience: Likewise.
        validation_fraction: Likewise.
        random_state: Likewise.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> model = DEQClassifier(width=8, max_epochs=25, random_state=0).fit(x, y)
        >>> bool(model.score(x, y) > 0.8), bool(model.certificate().unique)
        (True, True)
    """

    def __init__(
        self,
        *,
        width: Any = 64,  # noqa: ANN401
        bound: Any = 0.9,  # noqa: ANN401
        rtol: Any = 1e-4,  # noqa: ANN401
        class_weight: Any = None,  # noqa: ANN401
        learning_rate: Any = 5e-3,  # noqa: ANN401
        weight_decay: Any = 1e-2,  # noqa: ANN401
        batch_size: Any = 32,  # noqa: ANN401
        max_epochs: Any = 100,  # noqa: ANN401
        patience: Any = 10,  # noqa: ANN401
        validation_fraction: Any = 0.15,  # noqa: ANN401
        random_state: Any = None,  # noqa: ANN401
    ) -> None:
        super().__init__(
            class_weight=class_weight,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            random_state=random_state,
        )
        self.width = width
        self.bound = bound
        self.rtol = rtol


class DEQRegressor(_Equilibrium, TableRegressor):
    """A regression by the equilibrium of a cell that contracts.

    Args:
        width: Numbers of the state z, at least 1.
        bound: The largest spectral norm of W, between 0 and 1.
        rtol: The relative tolerance of the solves, more than 0.
        learning_rate: See `TableEstimator`, as for all that follow.
        weight_decay: Likewise.
        batch_size: Likewise.
        max_epochs: Likewise.
        patience: Likewise.
        validation_fraction: Likewise.
        random_state: Likewise.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> x, y = load_diabetes(return_X_y=True)
        >>> model = DEQRegressor(width=8, max_epochs=10, random_state=0).fit(x, y)
        >>> bool(model.score(x, y) > 0.3), bool(model.certificate().unique)
        (True, True)
    """

    def __init__(
        self,
        *,
        width: Any = 64,  # noqa: ANN401
        bound: Any = 0.9,  # noqa: ANN401
        rtol: Any = 1e-4,  # noqa: ANN401
        learning_rate: Any = 5e-3,  # noqa: ANN401
        weight_decay: Any = 1e-2,  # noqa: ANN401
        batch_size: Any = 32,  # noqa: ANN401
        max_epochs: Any = 100,  # noqa: ANN401
        patience: Any = 10,  # noqa: ANN401
        validation_fraction: Any = 0.15,  # noqa: ANN401
        random_state: Any = None,  # noqa: ANN401
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            random_state=random_state,
        )
        self.width = width
        self.bound = bound
        self.rtol = rtol
