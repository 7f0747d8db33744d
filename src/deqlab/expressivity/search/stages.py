"""A route to a trained network: stages of Levenberg-Marquardt, each with its target and start.

Targets are one family of functions, numbered by how hard they are: the sawtooth with 2^k regions by
k, the ramp of slope 2^d by d. The steps of a route are shared evenly among its stages.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.growth import share
from deqlab.expressivity.search.initial import drawn
from deqlab.expressivity.search.levenberg_marquardt import levenberg_marquardt
from deqlab.expressivity.search.network import Network, Wiring

Data: TypeAlias = Callable[[int], tuple[Float[Tensor, " N"], Float[Tensor, " N"]]]
"""Points for the target of a number, and their values."""

Prepare: TypeAlias = Callable[[Network, Float[Tensor, " N"], Float[Tensor, " N"], int], Network]
"""Makes the start of a stage from the end of the one before, its points, target and number."""


@dataclass(frozen=True)
class Stage:
    """What a stage ends with.

    Attributes:
        number: Of its target.
        network: The network.
        train_loss: Mean squared error on the training points.
        steps: That were taken or tried.
        flops: Of these, and of candidates.
    """

    number: int
    network: Network
    train_loss: float
    steps: int
    flops: float


@dataclass(frozen=True)
class Route:
    """The stages of a route.

    Attributes:
        start: The network before the first one.
        targets: Number of each.
        prepare: What each begins with.
        candidates: Of each, none if empty; they cost a least-squares problem each.
    """

    start: Network
    targets: tuple[int, ...]
    prepare: Prepare
    candidates: tuple[int, ...] = ()

    def stages(self, data: Data, steps: int) -> Iterator[Stage]:
        """Train, and yield each stage when it ends."""
        network, count = self.start, len(self.targets)
        parts = zip(self.targets, share(steps, count), self.candidates or [0] * count, strict=True)
        for number, its_steps, candidates in parts:
            x, target = data(number)
            network = self.prepare(network, x, target, number)
            model = Substitution(network.wiring, x)
            fit = levenberg_marquardt(model, network.weights, target, steps=its_steps)
            network = network.having(fit.weights)
            search = candidates * _candidate_flops(network.wiring, len(x))
            flops = fit.steps * network.wiring.step_flops(len(x)) + search
            yield Stage(number, network, fit.loss, fit.steps, flops)


def _candidate_flops(wiring: Wiring, num_points: int) -> float:
    """Return the FLOPs of a candidate: its features, J'J of them, and its outputs."""
    features = wiring.levels[-1] + 1 + wiring.dense
    return num_points * 2.0 * (features**2 + 2 * features)


def kept(
    network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], number: int
) -> Network:
    """Return the network as it is."""
    return network


def from_random(
    wiring: Wiring,
    data: Data,
    targets: Sequence[int],
    *,
    prepare: Prepare = kept,
    generator: torch.Generator,
) -> Route:
    """Return the route from random weights, with a readout for the first target."""
    return Route(drawn(wiring, *data(targets[0]), generator), tuple(targets), prepare)
