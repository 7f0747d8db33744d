"""The weights of the evaluation that did best, so that the number of steps is chosen by it."""

import copy
from math import isnan
from typing import Any

from torch import nn


class BestWeights:
    """The weights of a network where a number in the rows was least.

    Args:
        metric: The name of the number; it must come from samples that are neither trained on nor
            tested.

    Attributes:
        row: The evaluation that did best; None before the first.

    Example:
        >>> best, model = BestWeights("validation_loss"), nn.Linear(1, 1)
        >>> for loss in (1.0, 0.5, 2.0):
        ...     _ = nn.init.constant_(model.weight, loss)
        ...     best.see(model, {"validation_loss": loss})
        >>> best.restore(model)
        >>> model.weight.item()
        0.5
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.row: dict[str, Any] | None = None
        self._weights: dict[str, Any] = {}

    def see(self, model: nn.Module, row: dict[str, Any]) -> None:
        """Keep a copy of the weights if they are the best so far; nan is never better.

        Raises:
            KeyError: The row has no such number.
        """
        if self.metric not in row:
            raise KeyError(f"no {self.metric!r} to choose by: an evaluation has {', '.join(row)}")
        value = row[self.metric]
        if self.row is None or value < self.row[self.metric] or isnan(self.row[self.metric]):
            self.row = dict(row)
            self._weights = copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> None:
        """Give the best weights to the network."""
        if self.row is not None:
            model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"row": self.row or {}, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.row, self._weights = state["row"] or None, state["weights"]
