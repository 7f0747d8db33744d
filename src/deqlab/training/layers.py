"""The DEQ layers of a model by name, and the solves that they take while it trains."""

from typing import Any

from torch import nn

from deqlab.errors import speak
from deqlab.named_parts import named_parts
from deqlab.nn.deq import DEQ
from deqlab.nn.equation import unwrapped
from deqlab.nn.knob import Knob
from deqlab.solution import Solution

UNSEEN = 20
"""Steps without a single solve, after which whoever watches is told."""


def layers_of(model: nn.Module) -> dict[str, DEQ[Any]]:
    """Return the DEQ layers of a model by their names; see `named_parts`."""
    return {name: part for name, part in named_parts(model) if isinstance(part, DEQ)}


def knob_of(layer: DEQ[Any]) -> Knob | None:
    """Return what scales the feedback of the cell of a layer, through wrappers of the cell."""
    knob: Knob | None = getattr(unwrapped(layer.cell), "knob", None)
    return knob


class Watch:
    """The verdicts of the solves that the layers of a model take in train mode.

    Each layer learns its path, which its own warnings then say too. It warns once if it sees none
    for some steps: a layer in eval mode and a copy of a layer are not watched, and nothing would be
    controlled or logged.

    Args:
        model: The model, whose layers tell of their solves from now on.

    Attributes:
        layers: The layers by name.

    Raises:
        ValueError: The model has no DEQ layer.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = layers_of(model)
        if not self.layers:
            raise ValueError(
                f"{type(model).__name__} has no DEQ layer: pass the model (or the layer) that is "
                "trained, not its output or its optimiser"
            )
        for name, layer in self.layers.items():
            layer.path = name
        self._told = {name: _Told(layer) for name, layer in self.layers.items()}
        self._unseen = 0

    def speak_of(self, name: str) -> None:
        """Let a layer warn no more of missed samples in train mode, while its solves are taken."""
        self._told[name].speaks = True

    def take(self) -> dict[str, list[Solution[None]]]:
        """Return the verdicts since the last call in order, of each layer that has any."""
        taken = {name: told.take() for name, told in self._told.items()}
        found = {name: solves for name, solves in taken.items() if solves}
        self._unseen = -1 if found or self._unseen < 0 else self._unseen + 1
        if self._unseen == UNSEEN:
            names = ", ".join(layer.called for layer in self.layers.values())
            text = (
                f"{names}: no solve in train mode was seen in {UNSEEN} steps, so that nothing is "
                "controlled or logged: call model.train(), and watch the model that is called, "
                "not one that it was copied to or from"
            )
            speak(text, text, on_failure="warn")
        return found

    def close(self) -> None:
        """Tell the layers to stop telling."""
        for told in self._told.values():
            told.close()


class _Told:
    """What one layer tells."""

    def __init__(self, layer: DEQ[Any]) -> None:
        self._layer, self.speaks = layer, False
        self._solves: list[Solution[None]] = []
        layer.observers.append(self._see)

    def take(self) -> list[Solution[None]]:
        taken, self._solves = self._solves, []
        return taken

    def close(self) -> None:
        if self._see in self._layer.observers:
            self._layer.observers.remove(self._see)

    def _see(self, solve: Solution[None]) -> bool:
        if self._layer.training:
            self._solves.append(solve)
        # Whom nobody asks any more, as a log that is not closed, speaks of nothing.
        return self.speaks and self._layer.training and len(self._solves) <= UNSEEN
