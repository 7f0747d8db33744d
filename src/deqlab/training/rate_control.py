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

import torch
from torch import Tensor, nn

from deqlab.arguments import check_number, check_positive
from deqlab.nn.knob import Knob
from deqlab.solution import Solution
from deqlab.training.layers import Watch, knob_of
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
        check_positive("speed", speed)
        self.target, self.quantile, self.speed = target, quantile, speed
        self.rates: dict[str, Tensor] = {}
        self._watch = Watch(model)
        for name in self._watch.layers:
            self._knob(name)

    def step(self) -> None:
        """Set each knob by the solves in train mode since the last call; without any, leave it.

        Raises:
            RuntimeError: A solve left no trace, as in one graph of torch.compile.
        """
        for name, solves in self._watch.take().items():
            layer, knob = self._watch.layers[name], self._knob(name)
            self.rates[name] = rate = largest_of_processes(self._measured(solves), layer)
            exponent = self.speed * torch.log(self.target / rate).clamp(-1, RISE)
            knob.value.mul_(exponent.exp().to(knob.value)).clamp_(max=knob.highest)

    def log(self) -> dict[str, dict[str, float]]:
        """Return the rate that was measured last and the knob as it was set then, by layer."""
        knobs = {name: self._knob(name) for name in self.rates}
        return {
            name: {"rate": rate.item(), knobs[name].name: knobs[name].value.item()}
            for name, rate in self.rates.items()
        }

    def close(self) -> None:
        """Leave the layers as they were before, their knobs where they are."""
        self._watch.close()

    def _measured(self, solves: list[Solution[None]]) -> Tensor:
        if not all(len(solve.trace) for solve in solves):
            raise RuntimeError(
                "rate control: a solve left no trace, as it does in one graph of torch.compile, so "
                "that its rate is not known: compile without fullgraph=True, and it runs outside"
            )
        return torch.cat([_rate(solve) for solve in solves]).quantile(self.quantile)

    def _knob(self, name: str) -> Knob:
        """Return the knob of a layer as it is now: moving a module makes new buffers."""
        layer = self._watch.layers[name]
        knob = knob_of(layer)
        if knob is None:
            raise ValueError(
                f"rate control: {layer.called} has a cell without a knob, so that there is nothing "
                "to turn: give the cell one (`Cell.knob`), or pass only layers that have one"
            )
        return knob


def _rate(solve: Solution[None]) -> Tensor:
    """Return the rate of each sample, at least 1 where it has not converged."""
    rate = solve.rate.nan_to_num(nan=1.0)
    return torch.where(solve.converged.to(rate.device), rate, rate.clamp_min(1))
