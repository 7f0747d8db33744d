"""Rate control: a DEQ is kept at its equilibrium by the one number that scales its feedback.

Training moves a DEQ towards the edge where its solves no longer converge. How near it is, each
solve tells for nothing: the factor by which its residuals fell in a step. After each step of the
optimiser the knob of the cell (see `nn.knob`) is set by

    knob <- knob exp(speed clip(log(target / q), -1, .1)),    knob <= highest

where q is a quantile over the samples of the rates that were measured. There is no second backward
pass, no term in the loss, and nothing that waits for a device. The knob falls ten times as fast as
it rises: leaving the equilibrium costs more than a little feedback does. The law is deqlab's own.
Several processes take the largest of their rates, and keep the same knob.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.arguments import check_number
from deqlab.nn.deq import DEQ
from deqlab.nn.knob import Knob
from deqlab.solution import Solution
from deqlab.training.layers import Watched, knob_of, layers_of
from deqlab.training.processes import largest_of_processes

RISE = 0.1
"""The largest exponent, in units of the speed; the smallest is -1."""


class RateControl:
    """Keeps the rate of the solves of all DEQ layers of a model at a target, or below it.

    Args:
        model: The model that is trained; every DEQ layer in it needs a cell with a knob.
        target: The rate that is aimed at, between 0 and 1. With a relative tolerance of 1e-2 a
            solve takes about log(1e-2) / log(target) evaluations.
        quantile: Which quantile of the samples is held to it, between 0 and 1.
        speed: By how much the logarithm of the knob changes in a step, at most; more than 0.

    Attributes:
        rates: The rate that was measured last, (), by layer. A sample that has not converged
            counts as 1 at least.

    Raises:
        ValueError: The model has no DEQ layer, or one whose cell has no knob; or a number is
            outside its domain.
    """

    def __init__(
        self, model: nn.Module, *, target: float = 0.5, quantile: float = 0.75, speed: float = 0.1
    ) -> None:
        for name, value in (("target", target), ("quantile", quantile)):
            check_number(name, value)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        check_number("speed", speed)
        if not 0 < speed < math.inf:
            raise ValueError(f"speed must be more than 0, and finite, got {speed}")
        self.target, self.quantile, self.speed = target, quantile, speed
        self.rates: dict[str, Tensor] = {}
        layers = layers_of(model)
        for name, layer in layers.items():
            _knob(name, layer)  # is asked for at each step: moving a module replaces its buffers
        self._watched = {name: Watched(layer) for name, layer in layers.items()}

    def step(self) -> None:
        """Set each knob by the solves in train mode since the last call; without any, leave it."""
        for name, watched in self._watched.items():
            if solves := watched.take():
                rate = largest_of_processes(self._measured(solves), watched.layer)
                self.rates[name] = rate
                knob = _knob(name, watched.layer)
                exponent = self.speed * torch.log(self.target / rate).clamp(-1, RISE)
                knob.value.mul_(exponent.exp().to(knob.value)).clamp_(max=knob.highest)

    def log(self) -> dict[str, dict[str, float]]:
        """Return the rate that was measured last and the knob as it was set then, by layer."""
        knobs = {name: _knob(name, self._watched[name].layer) for name in self.rates}
        return {
            name: {"rate": rate.item(), knobs[name].name: knobs[name].value.item()}
            for name, rate in self.rates.items()
        }

    def close(self) -> None:
        """Leave the layers as they were before, their knobs where they are."""
        for watched in self._watched.values():
            watched.close()

    def _measured(self, solves: list[Solution[None]]) -> Tensor:
        found = [solve.rate for solve in solves]
        rate = torch.cat(
            [
                torch.where(solve.converged.to(rate.device), rate, rate.clamp_min(1))
                for solve, rate in zip(solves, found, strict=True)
            ]
        )
        return rate.nan_to_num(nan=1.0).quantile(self.quantile)


def _knob(name: str, layer: DEQ[Any]) -> Knob:
    knob = knob_of(layer)
    if knob is None:
        where = f"the layer {name!r}, {layer.name}," if name else layer.name
        raise ValueError(
            f"rate control: {where} has a cell without a knob, so that there is nothing to turn: "
            "give the cell one (`Cell.knob`), or pass only layers that have one"
        )
    return knob
