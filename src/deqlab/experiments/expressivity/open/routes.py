"""Routes to a trained sawtooth by Levenberg-Marquardt.

    plain           random weights; one stage, on s_k
    curriculum      random weights; s_1, s_2 .. s_k
    construction    an exact construction with noise; one stage, on s_k
    growth          a level more a stage; see `growth`

Every network has the same number of steps on every route, shared evenly among its stages.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.experiments.expressivity.open.config import OpenConfig
from deqlab.expressivity.search.growth import sprouted, targets
from deqlab.expressivity.search.initial import (
    disturbed,
    exact_deq,
    exact_fnn,
    refitted,
)
from deqlab.expressivity.search.network import Network, Wiring, identity
from deqlab.expressivity.search.stages import Data, Route, from_random, kept

FNN_SLOPE = 1.0
"""Of new neurons of an FNN; those of a DEQ have 2^-k, so that its state stays near 1."""


def plain(config: OpenConfig, wiring: Wiring, data: Data, generator: torch.Generator) -> Route:
    """Return the route from random weights."""
    return from_random(wiring, data, (config.log2_regions,), generator=generator)


def curriculum(config: OpenConfig, wiring: Wiring, data: Data, generator: torch.Generator) -> Route:
    """Return the route from random weights over s_1 .. s_k; each stage refits the readout."""
    k = config.log2_regions

    def prepare(
        network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], k: int
    ) -> Network:
        return refitted(network, x, target)

    return from_random(wiring, data, targets(k, k), prepare=prepare, generator=generator)


def construction(
    config: OpenConfig, *, dense: bool, noise: float, generator: torch.Generator
) -> Route:
    """Return the route from an exact construction with relative noise."""
    k = config.log2_regions
    exact = exact_deq(k, config.width) if dense else exact_fnn(k)
    return Route(disturbed(exact, noise, generator), (k,), kept)


def growth(config: OpenConfig, wiring: Wiring, generator: torch.Generator) -> Route:
    """Return the route that grows a level a stage."""

    def sprout(
        network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], k: int
    ) -> Network:
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
    candidates = (config.candidates,) * len(stages)
    return Route(identity(dense=wiring.dense), stages, sprout, candidates)
