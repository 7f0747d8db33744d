"""Ending training where a metric no longer improves."""

from dataclasses import dataclass
from math import isnan
from typing import Any

from deqlab.arguments import check_count


@dataclass
class EarlyStop:
    """Ends training after `patience` evaluations without a better value.

    Attributes:
        metric: The name of a number in the rows.
        patience: Evaluations without a better value, at least 1.
        higher: Whether higher values are better.
        best: The best value so far.
        since: Evaluations since then.

    Example:
        >>> stop = EarlyStop("validation_loss", patience=2)
        >>> [stop({"validation_loss": loss}) for loss in (1.0, 0.5, 0.6, 0.7)]
        [True, True, True, False]
    """

    metric: str
    patience: int
    higher: bool = False
    best: float | None = None
    since: int = 0

    def __post_init__(self) -> None:
        check_count("patience", self.patience)

    def __call__(self, row: dict[str, Any]) -> bool:
        """Return whether training goes on after this evaluation.

        Raises:
            KeyError: The row has no such number.
        """
        if self.metric not in row:
            raise KeyError(f"no {self.metric!r} to stop by: an evaluation has {', '.join(row)}")
        value = row[self.metric]
        if self.best is None or self._is_better(value):
            self.best, self.since = value, 0
        else:
            self.since += 1
        return self.since < self.patience

    def _is_better(self, value: float) -> bool:
        assert self.best is not None
        if isnan(value):
            return False
        return isnan(self.best) or (value > self.best if self.higher else value < self.best)
