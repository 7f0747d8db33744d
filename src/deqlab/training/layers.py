"""The DEQ layers of a model by name, and the solves that they took lately."""

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
