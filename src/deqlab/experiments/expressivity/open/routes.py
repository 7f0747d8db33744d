"""Routes to a trained network by Levenberg-Marquardt, as stages: a target, a start, a fit.

    plain           random weights; one stage, on s_k
    curriculum      random weights; s_1, s_2 .. s_k
    construction    an exact construction with noise; one stage, on s_k
    growth          a level more a stage; see `growth`

Every network has the same number of steps on every route, shared evenly among its stages.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.experiments.expressivity.open.config import OpenConfig
from deqlab.experiments.expressivity.open.growth import share, sprouted, targets
from deqlab.experiments.expressivity.open.levenberg import levenberg_marquardt
from deqlab.experiments.expressivity.open.starts import (
    disturbed,
    drawn,
    exact_deq,
    exact_fnn,
    refitted,
)
from deqlab.experiments.expressivity.open.substitution import Substitution
from deqlab.experiments.expressivity.open.wiring import Network, Wiring, identity
from deqlab.tasks import sawtooth

FNN_SLOPE = 1.0
"""Of new neurons of an FNN; those of a DEQ have 2^-k, so that its state stays near 1."""

Prepare = Callable[[Network, Float[Tensor, " N"], int], Network]
"""Makes the start of a stage from the end of the one before, its target and its k."""


@dataclass(frozen=True)
class Stage:
    """What a stage ends with.

    Attributes:
        log2_regions: k of its target.
        network: The network.
        train_loss: Mean squared error on the training points.
        steps: That were taken or tried.
        flops: Of these, and of candidates.
    """

    log2_regions: int
    network: Network
    train_loss: float
    steps: int
    flops: float


@dataclass(frozen=True)
class Route:
    """The stages of a route.

    Attributes:
        start: The network before the first one.
        targets: k of each.
        prepare: What each begins with.
        candidates: Of each; they cost a least-squares problem each.
    """

    start: Network
    targets: tuple[int, ...]
    prepare: Prepare
    candidates: int = 0

    def stages(self, x: Float[Tensor, " N"], steps: int) -> Iterator[Stage]:
        """Train, and yield each stage when it ends."""
        network = self.start
        for k, its_steps in zip(self.targets, share(steps, len(self.targets)), strict=True):
            target = sawtooth.evaluate(x, log2_regions=k)
            network = self.prepare(network, target, k)
            model = Substitution(network.wiring, x)
            fit = levenberg_marquardt(model, network.weights, target, steps=its_steps)
            network = network.having(fit.weights)
            flops = fit.steps * network.wiring.step_flops(len(x)) + self._search(network, len(x))
            yield Stage(k, network, fit.loss, fit.steps, flops)

    def _search(self, network: Network, num_points: int) -> float:
        """Return the FLOPs of candidates: their features, J'J of them, and their outputs."""
        features = network.wiring.levels[-1] + 1 + network.wiring.dense
        return self.candidates * num_points * 2.0 * (features**2 + 2 * features)


def kept(network: Network, target: Float[Tensor, " N"], log2_regions: int) -> Network:
    """Return the network as it is."""
    return network


def plain(
    config: OpenConfig, wiring: Wiring, x: Float[Tensor, " N"], generator: torch.Generator
) -> Route:
    """Return the route from random weights."""
    k = config.log2_regions
    target = sawtooth.evaluate(x, log2_regions=k)
    return Route(drawn(wiring, x, target, generator), (k,), kept)


def curriculum(
    config: OpenConfig, wiring: Wiring, x: Float[Tensor, " N"], generator: torch.Generator
) -> Route:
    """Return the route from random weights over s_1 .. s_k; each stage refits the readout."""
    k = config.log2_regions
    start = drawn(wiring, x, sawtooth.evaluate(x, log2_regions=1), generator)
    return Route(start, targets(k, k), lambda network, target, _: refitted(network, x, target))


def construction(
    config: OpenConfig, *, dense: bool, noise: float, generator: torch.Generator
) -> Route:
    """Return the route from an exact construction with relative noise."""
    k = config.log2_regions
    exact = exact_deq(k, config.width) if dense else exact_fnn(k)
    return Route(disturbed(exact, noise, generator), (k,), kept)


def growth(
    config: OpenConfig, wiring: Wiring, x: Float[Tensor, " N"], generator: torch.Generator
) -> Route:
    """Return the route that grows a level a stage."""

    def sprout(network: Network, target: Float[Tensor, " N"], k: int) -> Network:
        return sprouted(
            network,
            x,
            target,
            width=wiring.levels[len(network.wiring.levels)],
            scale=0.5**k if wiring.dense else FNN_SLOPE,
            candidates=config.candidates,
            generator=generator,
        )

    stages = targets(config.log2_regions, len(wiring.levels))
    return Route(identity(dense=wiring.dense), stages, sprout, config.candidates)
