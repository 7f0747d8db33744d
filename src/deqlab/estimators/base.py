"""What all estimators of tables share: their settings of training, and how they answer."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, softmax

from deqlab.arguments import check_count, check_number, check_positive
from deqlab.estimators.network import Standardised
from deqlab.estimators.training import Settings, answers_of, trained


class TableEstimator(BaseEstimator, ABC):  # type: ignore[misc]
    """An estimator whose network is trained in batches, with early stopping on held-out rows.

    Args:
        learning_rate: That of AdamW, more than 0.
        weight_decay: Likewise, 0 or more.
        batch_size: Rows of a step; all, if there are fewer.
        max_epochs: Passes over the rows, at most.
        patience: Epochs without a smaller loss on held-out rows after which training ends.
        validation_fraction: The share of rows that is held out, between 0 and 1. Of fewer than
            10 rows none is, and training takes all epochs.
        random_state: Draws the first weights, the held-out rows and the order of the batches.

    Attributes:
        module_: The trained network, in eval mode and float64: raw features (B, n_features_in_)
            to scores of the classes (B, m), or to the values of a regression (B,).
        history_: A dictionary for each epoch, with its losses.
        n_features_in_: Features.
    """

    def __init__(
        self,
        *,
        learning_rate: Any = 5e-3,  # noqa: ANN401, scikit-learn has arguments looked at by `fit`
        weight_decay: Any = 1e-2,  # noqa: ANN401
        batch_size: Any = 32,  # noqa: ANN401
        max_epochs: Any = 100,  # noqa: ANN401
        patience: Any = 10,  # noqa: ANN401
        validation_fraction: Any = 0.15,  # noqa: ANN401
        random_state: Any = None,  # noqa: ANN401
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    module_: Standardised

    @abstractmethod
    def _body(self, num_inputs: int, num_outputs: int) -> nn.Module:
        """Return the network of standardised features, its weights from the global generator."""

    def _settings(self) -> Settings:
        """Return how to train, or raise where a setting is outside of its domain."""
        for name in ("batch_size", "max_epochs", "patience"):
            check_count(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)
        for name in ("weight_decay", "validation_fraction"):
            check_number(name, getattr(self, name))
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be 0 or more, and finite, got {self.weight_decay}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must lie between 0 and 1, got {self.validation_fraction}"
            )
        return Settings(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
            validation_fraction=self.validation_fraction,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )

    def _answers(self, X: Any) -> Tensor:  # noqa: ANN401, N803
        """Return what the network says of rows of features."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        return answers_of(self.module_, torch.tensor(x))  # a copy: x may be read-only


class TableClassifier(ClassifierMixin, TableEstimator):  # type: ignore[misc]
    """A classifier by scores.

    Args:
        class_weight: None; "balanced", by which each class weighs the same; or the weight of each
            class by its label.
        settings: Those of `TableEstimator`.

    Attributes:
        classes_: The labels, sorted; a column of the scores for each.
    """

    def __init__(self, *, class_weight: Any = None, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> "TableClassifier":  # noqa: ANN401, N803
        """Train a network on rows X (N, n) of the classes y (N,).

        Raises:
            ValueError: A setting is outside its domain, X holds what is no finite number, or y has
                one class only.
        """
        settings = self._settings()
        X, y = validate_data(self, X, y, dtype=np.float64)  # noqa: N806
        check_classification_targets(y)
        self.classes_, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"a classifier needs two or more classes, and y has one class, {self.classes_[0]}"
            )
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        weight = torch.from_numpy(np.asarray(weights, dtype=np.float64))

        def loss(scores: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(scores, labels, weight=weight)

        self.module_, self.history_ = trained(
            lambda: self._body(X.shape[1], len(self.classes_)),
            np.array(X),
            numbers.astype(np.int64),
            loss,
            settings,
        )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: ANN401, N803
        """Return the probability of each class, (N, m), in the order of `classes_`."""
        return np.asarray(softmax(self._answers(X), dim=1).numpy())

    def predict(self, X: Any) -> np.ndarray:  # noqa: ANN401, N803
        """Return the most probable class of each row, (N,)."""
        found = self._answers(X).argmax(dim=1).numpy()  # before what is asked for is fitted
        return np.asarray(self.classes_[found])


class TableRegressor(RegressorMixin, TableEstimator):  # type: ignore[misc]
    """A regression of one number, by least squares."""

    def fit(self, X: Any, y: Any) -> "TableRegressor":  # noqa: ANN401, N803
        """Train a network on rows X (N, n) of the values y (N,).

        Raises:
            ValueError: A setting is outside its domain, X or y hold what is no finite number, or
                there is one row only.
        """
        settings = self._settings()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)  # noqa: N806
        self.module_, self.history_ = trained(
            lambda: self._body(X.shape[1], 1),
            np.array(X),
            np.array(column_or_1d(y, warn=True), dtype=np.float64),
            mse_loss,
            settings,
        )
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: ANN401, N803
        """Return the value of each row, (N,), in the units of the target."""
        return np.asarray(self._answers(X).numpy())
