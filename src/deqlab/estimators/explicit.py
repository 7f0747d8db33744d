"""Explicit networks on tables, trained as the DEQs of `equilibrium` are: their rivals.

z_1 = relu(W_1 x + b_1),  z_k = relu(W_k z_(k-1) + b_k),    answers = C z_K + c
"""

from typing import Any

from torch import nn
from typing_extensions import override

from deqlab.arguments import check_count, check_sequence
from deqlab.estimators.base import TableClassifier, TableEstimator, TableRegressor
from deqlab.nn.models.mlp import mlp


class _Explicit(TableEstimator):
    """The body of both: the setting `hidden`."""

    hidden: Any

    @override
    def _body(self, num_inputs: int, num_outputs: int) -> nn.Module:
        check_sequence("hidden", self.hidden)
        for width in self.hidden:
            check_count("each of hidden", width)
        return mlp([num_inputs, *self.hidden, num_outputs])


class ExplicitClassifier(_Explicit, TableClassifier):
    """A classifier by a feed-forward network.

    Args:
        hidden: The width of each hidden layer.
        class_weight: None; "balanced", by which each class weighs the same; or the weight of each
            class by its label.
        learning_rate: See `TableEstimator`, as for all that follow.
        weight_decay: Likewise.
        batch_size: Likewise.
        max_epochs: Likewise.
        patience: Likewise.
        validation_fraction: Likewise.
        random_state: Likewise.
    """

    def __init__(
        self,
        *,
        hidden: Any = (64, 64),  # noqa: ANN401
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
        self.hidden = hidden


class ExplicitRegressor(_Explicit, TableRegressor):
    """A regression by a feed-forward network.

    Args:
        hidden: The width of each hidden layer.
        learning_rate: See `TableEstimator`, as for all that follow.
        weight_decay: Likewise.
        batch_size: Likewise.
        max_epochs: Likewise.
        patience: Likewise.
        validation_fraction: Likewise.
        random_state: Likewise.
    """

    def __init__(
        self,
        *,
        hidden: Any = (64, 64),  # noqa: ANN401
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
        self.hidden = hidden
