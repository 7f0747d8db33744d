"""What training has changed of the settings of a layer's solvers, for checkpoints.

Policies allow more steps, and tuning finds a step size. Neither is a weight, and a training that
goes on must have it; what the user has set another way for the rest of the run stays as it is.
"""

from dataclasses import asdict, replace
from typing import Any

from deqlab.nn.deq import DEQ


class SolverChanges:
    """The numbers among the settings of a layer's solvers that are others than when it was made.

    Args:
        layer: The layer, whose solvers are now as the user has set them.
    """

    def __init__(self, layer: DEQ[Any]) -> None:
        self._layer = layer
        self._start = [_numbers(solver) for solver in _solvers(layer)]

    def found(self) -> list[dict[str, int | float]]:
        """Return the changes: of the forward solver, and of that of the adjoint if there is one."""
        now = [_numbers(solver) for solver in _solvers(self._layer)]
        return [
            dict(numbers.items() - start.items())
            for numbers, start in zip(now, self._start, strict=True)
        ]

    def apply(self, changes: list[dict[str, int | float]]) -> None:
        """Make the changes that `found` returned in the training that goes on."""
        solvers = _solvers(self._layer)
        made = [replace(solver, **each) for solver, each in zip(solvers, changes, strict=True)]
        self._layer.solver = made[0]
        if len(made) > 1:
            gradient: Any = self._layer.gradient
            self._layer.gradient = replace(gradient, solver=made[1])


def _solvers(layer: DEQ[Any]) -> list[Any]:
    backward = getattr(layer.gradient, "solver", None)
    return [layer.solver] if backward is None else [layer.solver, backward]


def _numbers(solver: Any) -> dict[str, int | float]:  # noqa: ANN401, of any class of settings
    return {name: value for name, value in asdict(solver).items() if type(value) in (int, float)}
