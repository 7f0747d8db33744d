"""The DEQ layers of a model by name, and the solves that they took lately."""

from dataclasses import asdict, replace
from typing import Any

from torch import nn

from deqlab.nn.deq import DEQ
from deqlab.nn.equation import unwrapped
from deqlab.nn.knob import Knob
from deqlab.solution import Solution


def layers_of(model: nn.Module) -> dict[str, DEQ[Any]]:
    """Return the DEQ layers of a model by their dotted names; the model itself is "".

    Raises:
        ValueError: It has none.
    """
    found = {name: part for name, part in model.named_modules() if isinstance(part, DEQ)}
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no DEQ layer: pass the model (or the layer) that is "
            "trained, not its output or its optimiser"
        )
    return found


def knob_of(layer: DEQ[Any]) -> Knob | None:
    """Return what scales the feedback of the cell of a layer, through wrappers of the cell."""
    knob: Knob | None = getattr(unwrapped(layer.cell), "knob", None)
    return knob


def solvers_of(layer: DEQ[Any]) -> list[Any]:
    """Return the method of the forward solves, and that of the adjoint if the gradient has one."""
    backward = getattr(layer.gradient, "solver", None)
    return [layer.solver] if backward is None else [layer.solver, backward]


def numbers_of(solver: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the numbers among the settings of a solver: limits, tolerances, step sizes."""
    return {name: value for name, value in asdict(solver).items() if type(value) in (int, float)}


def set_numbers(layer: DEQ[Any], numbers: list[dict[str, float]]) -> None:
    """Set the solvers of a layer, in the order of `solvers_of`, to what `numbers_of` returned."""
    forward, *backward = [
        replace(solver, **settings)
        for solver, settings in zip(solvers_of(layer), numbers, strict=True)
    ]
    layer.solver = forward
    if backward:
        gradient: Any = layer.gradient
        layer.gradient = replace(gradient, solver=backward[0])


class Watched:
    """A layer and the verdicts of the solves that it took in train mode since they were last read.

    Args:
        layer: The layer, which tells of its solves from now on.
    """

    def __init__(self, layer: DEQ[Any]) -> None:
        self.layer = layer
        self._solves: list[Solution[None]] = []
        layer.observers.append(self._see)

    def take(self) -> list[Solution[None]]:
        """Return the verdicts since the last call, in order."""
        taken, self._solves = self._solves, []
        return taken

    def close(self) -> None:
        """Tell the layer to stop telling."""
        if self._see in self.layer.observers:
            self.layer.observers.remove(self._see)

    def _see(self, solve: Solution[None]) -> None:
        if self.layer.training:
            self._solves.append(solve)
