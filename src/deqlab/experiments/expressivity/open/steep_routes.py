"""Routes to a trained ramp by Levenberg-Marquardt.

    plain           random weights; one stage, on the last ramp
    curriculum      random weights; ramps of slope 2, 4 .. 2^d, each from where the last one ended
    construction    an exact construction with noise; one stage, on the last ramp
    steepening      the curriculum, but each stage begins with the network made twice as steep
    growth          on the ramp of slope 2 a level more a stage, see `growth`; then steepening

The exact ones are, with delta = 2^-d, the DEQ of `expressivity.steep_ramp` and the FNN of one layer

    y = relu(x / delta) - relu(x / delta - 1).

A curriculum does not refit its readout, as that of the sawtooth does: where the readout has weights
of 2^d, the ridge of the least-squares problem undoes what a stage has learned. It was tried.
Loops are trained as they are; log(1 - w) in place of w was tried, and was no better, as steps may
take it to where 1 - w is 0 to rounding.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.experiments.expressivity.open.steep_config import OpenSteepConfig
from deqlab.expressivity import steep_ramp
from deqlab.expressivity.search.growth import sprouted
from deqlab.expressivity.search.initial import disturbed
from deqlab.expressivity.search.network import Network, Wiring, identity
from deqlab.expressivity.search.rescaling import steepened
from deqlab.expressivity.search.stages import Data, Prepare, Route, from_random, kept
from deqlab.nn import DenseCell

GENTLEST = 1
"""d of the first stage."""

SLOPE = 1.0
"""Of new neurons."""


def plain(config: OpenSteepConfig, wiring: Wiring, data: Data, generator: torch.Generator) -> Route:
    """Return the route from random weights."""
    return from_random(wiring, data, (config.log2_steepness,), generator=generator)


def curriculum(
    config: OpenSteepConfig, wiring: Wiring, data: Data, generator: torch.Generator
) -> Route:
    """Return the route from random weights over ramps that get steeper."""
    return _climb(config, wiring, data, kept, generator)


def steepening(
    config: OpenSteepConfig, wiring: Wiring, data: Data, generator: torch.Generator
) -> Route:
    """Return the curriculum whose stages begin with a network made steeper."""

    def prepare(
        network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], d: int
    ) -> Network:
        return network if d == GENTLEST else steepened(network)

    return _climb(config, wiring, data, prepare, generator)


def growth(config: OpenSteepConfig, wiring: Wiring, generator: torch.Generator) -> Route:
    """Return the route that grows on the gentlest ramp, and then makes the network steeper."""
    levels, steeper = wiring.levels, range(GENTLEST + 1, config.log2_steepness + 1)

    def prepare(
        network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], d: int
    ) -> Network:
        if d > GENTLEST:
            return steepened(network)
        return sprouted(
            network,
            x,
            target,
            width=levels[len(network.wiring.levels)],
            scale=SLOPE,
            candidates=config.candidates,
            generator=generator,
        )

    return Route(
        identity(dense=wiring.dense, loops=wiring.loops, skip=wiring.skip),
        (*[GENTLEST] * len(levels), *steeper),
        prepare,
        (*[config.candidates] * len(levels), *[0] * len(steeper)),
    )


def construction(
    config: OpenSteepConfig, *, dense: bool, noise: float, generator: torch.Generator
) -> Route:
    """Return the route from an exact construction with relative noise."""
    d = config.log2_steepness
    exact = exact_deq(d, config.width) if dense else exact_fnn(d)
    return Route(disturbed(exact, noise, generator), (d,), kept)


def exact_deq(log2_steepness: int, width: int) -> Network:
    """Return the ramp as a DEQ of at least 2 neurons; those after the second do nothing."""
    network = steep_ramp(2.0**-log2_steepness)
    cell = network.layer.cell
    assert isinstance(cell, DenseCell)
    a = torch.zeros(width + 1, width + 2, dtype=torch.float64)
    a[:2, :2] = cell.weight.detach()
    a[:2, -2:] = torch.stack([cell.inject.weight[:, 0], cell.inject.bias], dim=1).detach()
    a[-1, :2] = network.readout.weight[0].detach()
    return Network(Wiring((1,) * width, dense=True, loops=True, skip=False), a)


def exact_fnn(log2_steepness: int) -> Network:
    """Return the ramp as an FNN of one level of 2 neurons."""
    slope = 2.0**log2_steepness
    a = [[0, 0, slope, 0], [0, 0, slope, -1], [1, -1, 0, 0]]
    return Network(Wiring((2,), dense=False), torch.tensor(a, dtype=torch.float64))


def _climb(
    config: OpenSteepConfig,
    wiring: Wiring,
    data: Data,
    prepare: Prepare,
    generator: torch.Generator,
) -> Route:
    numbers = range(GENTLEST, config.log2_steepness + 1)
    return from_random(wiring, data, numbers, prepare=prepare, generator=generator)
