"""Observers: from measured positions to estimates of positions and velocities.

All but the GRU have the estimate as their state, and learn one step of it. They are free to use
the estimate or what is measured, and only the network that contracts is bound to use enough of the
latter. A GRU has a state of its own, and learns along windows.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.control.ren import REN
from deqlab.gradients.implicit import Implicit
from deqlab.recipes.control.luenberger import LinearObserver
from deqlab.solvers.splitting import PeacemanRachford

STATES = 2

RTOL = 1e-8
"""How near the neurons are to their equilibrium: L-BFGS compares losses that differ by little."""


class Observer(nn.Module, ABC):
    """A network that estimates the state."""

    def start_at(self, known: LinearObserver) -> None:
        """Begin as that observer, if the state of the network is the estimate."""

    @abstractmethod
    def forward(self, y: Float[Tensor, "B T 1"]) -> Float[Tensor, "B T 2"]:
        """Return the estimates of the states after each measurement, beginning at 0."""

    @abstractmethod
    def predicted(
        self, x: Float[Tensor, "B T 2"], y: Float[Tensor, "B T 1"]
    ) -> Float[Tensor, "B S 2"]:
        """Return the estimates of the next states that are trained, at the last S times of windows.

        Args:
            x: The true states.
            y: What is measured of them.
        """


class Contracting(Observer):
    """A recurrent equilibrium network whose state is the estimate.

    Args:
        width: Neurons.
        rate: By what trajectories come closer in each step.
        max_steps: Steps of a solve.
    """

    def __init__(self, width: int, rate: float, max_steps: int) -> None:
        super().__init__()
        self.net = REN(
            1,
            STATES,
            width,
            rate=rate,
            activation=torch.tanh,
            solver=PeacemanRachford(rtol=RTOL, max_steps=max_steps, patience=50),
            gradient=Implicit(solver=PeacemanRachford(rtol=RTOL, max_steps=max_steps)),
        )
        self.net.deq.on_failure = "ignore"  # the log of the run speaks up

    @override
    def start_at(self, known: LinearObserver) -> None:
        self.net.start_at(known.a, known.gain)

    @override
    def forward(self, y: Float[Tensor, "B T 1"]) -> Float[Tensor, "B T 2"]:
        states: Tensor = self.net(y)[1]
        return states[:, 1:]

    @override
    def predicted(
        self, x: Float[Tensor, "B T 2"], y: Float[Tensor, "B T 1"]
    ) -> Float[Tensor, "B T 2"]:
        return self.net.step(x, y)[0]


class Free(Observer):
    """x+ = A x + B tanh(C x + D u + b) + B2 u + b2: the same form with weights of no structure.

    Args:
        width: Neurons.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(STATES + 1, width)
        self.out = nn.Linear(width, STATES, bias=False)
        self.direct = nn.Linear(STATES + 1, STATES)

    @override
    def start_at(self, known: LinearObserver) -> None:
        with torch.no_grad():
            self.direct.weight.copy_(torch.cat([known.a, known.gain], dim=1))
            self.direct.bias.zero_()
            self.out.weight.zero_()

    @override
    def forward(self, y: Float[Tensor, "B T 1"]) -> Float[Tensor, "B T 2"]:
        x, estimates = y.new_zeros(len(y), STATES), []
        for measured in y.unbind(dim=1):
            x = self._next(torch.cat([x, measured], dim=-1))
            estimates.append(x)
        return torch.stack(estimates, dim=1)

    @override
    def predicted(
        self, x: Float[Tensor, "B T 2"], y: Float[Tensor, "B T 1"]
    ) -> Float[Tensor, "B T 2"]:
        return self._next(torch.cat([x, y], dim=-1))

    def _next(self, known: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 2"]:
        after: Tensor = self.direct(known) + self.out(self.hidden(known).tanh())
        return after


class Gated(Observer):
    """A GRU with a linear readout of the estimate; only later halves of windows are trained.

    Args:
        width: Of its state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(1, width, batch_first=True)
        self.readout = nn.Linear(width, STATES)

    @override
    def forward(self, y: Float[Tensor, "B T 1"]) -> Float[Tensor, "B T 2"]:
        estimates: Tensor = self.readout(self.recurrent(y)[0])
        return estimates

    @override
    def predicted(
        self, x: Float[Tensor, "B T 2"], y: Float[Tensor, "B T 1"]
    ) -> Float[Tensor, "B S 2"]:
        found: Tensor = self(y)
        return found[:, found.shape[1] // 2 :]
