"""A route to a trained network: stages of Levenberg-Marquardt, each with its target and start.

Targets are one family of functions, numbered by how hard they are, for instance sawtooths with 2^k
regions by k. The steps of a route are shared evenly among its stages.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.evaluation import Evaluation
from deqlab.expressivity.search.growth import candidate_flops, grow_level
from deqlab.expressivity.search.levenberg_marquardt import levenberg_marquardt
from deqlab.expressivity.search.network import Architecture, Network
from deqlab.expressivity.search.readout import refit_readout
from deqlab.expressivity.search.rescaling import rescale_input

Data: TypeAlias = Callable[[int], tuple[Float[Tensor, " N"], Float[Tensor, " N"]]]
"""Returns points for the target of a number, and its values there."""

Prepare: TypeAlias = Callable[[Network, Float[Tensor, " N"], Float[Tensor, " N"], int], Network]
"""Makes the start of a stage from the end of the one before, its points, target and number."""


@dataclass(frozen=True)
class Stage:
    """The end of a stage.

    Attributes:
        number: The number of its target.
        network: The network.
        train_loss: The mean squared error on the training points.
        steps: The number of steps that were solved for, taken or refused.
        flops: The FLOPs of these, and of candidates.
    """

    number: int
    network: Network
    train_loss: float
    steps: int
    flops: float


def keep(
    network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], number: int
) -> Network:
    """Begin a stage with the network as the one before left it."""
    return network


@dataclass(frozen=True)
class Route:
    """A start, and what each stage is trained on.

    Attributes:
        start: The network before the first stage.
        plan: For each stage the number of its target, what makes its start, and the number of
            candidates that this tries.

    Example:
        >>> from deqlab.expressivity.search import Architecture, identity
        >>> start = identity(Architecture((), dense=False))
        >>> Route(start).then((1, 1)).then(range(2, 5), rescale).targets
        (1, 1, 2, 3, 4)
    """

    start: Network
    plan: tuple[tuple[int, Prepare, int], ...] = ()

    def then(
        self, targets: Iterable[int], prepare: Prepare = keep, *, candidates: int = 0
    ) -> "Route":
        """Return the route with more stages.

        Args:
            targets: The number of each stage's target.
            prepare: Makes the start of each stage.
            candidates: How many candidates `prepare` tries at each stage: they are counted in
                FLOPs.
        """
        more = ((number, prepare, candidates) for number in targets)
        return Route(self.start, (*self.plan, *more))

    @property
    def targets(self) -> tuple[int, ...]:
        """The number of each stage's target."""
        return tuple(number for number, _, _ in self.plan)

    def stages(self, data: Data, steps: int) -> Iterator[Stage]:
        """Train, and yield each stage when it ends.

        Args:
            data: Returns the training points of a target.
            steps: The largest number of Levenberg-Marquardt steps of all stages, 0 or more.
        """
        network, shares = self.start, share(steps, len(self.plan))
        for (number, prepare, candidates), most in zip(self.plan, shares, strict=True):
            x, target = data(number)
            network = prepare(network, x, target, number)
            architecture = network.architecture
            model = Evaluation(architecture, x)
            fit = levenberg_marquardt(model, network.weights, target, steps=most)
            network = network.with_weights(fit.weights)
            search = candidates * candidate_flops(architecture, len(x))
            flops = fit.steps * architecture.step_flops(len(x)) + search
            yield Stage(number, network, fit.loss, fit.steps, flops)


def stage_targets(hardest: int, stages: int) -> tuple[int, ...]:
    """Return the number of each stage's target, from easy ones to the hardest.

    There is one stage for each of 1, 2 .. `hardest`, and those left over are for the hardest; where
    stages are too few for that, the numbers are spread evenly.

    Example:
        >>> stage_targets(3, stages=5), stage_targets(5, stages=3)
        ((1, 2, 3, 3, 3), (2, 4, 5))
    """
    if stages >= hardest:
        return tuple(min(stage, hardest) for stage in range(1, stages + 1))
    return tuple(math.ceil(stage * hardest / stages) for stage in range(1, stages + 1))


def share(steps: int, stages: int) -> Iterator[int]:
    """Yield the number of steps of each stage, as even as they can be.

    Example:
        >>> list(share(7, 3))
        [2, 2, 3]
    """
    for stage in range(stages):
        yield steps * (stage + 1) // stages - steps * stage // stages


def refit(
    network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], number: int
) -> Network:
    """Begin a stage with the readout that fits its target best."""
    return refit_readout(network, x, target)


def rescale(
    network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], number: int
) -> Network:
    """Begin a stage with the network of f(2 x); see `rescale_input`."""
    return rescale_input(network)


def grow(
    architecture: Architecture,
    *,
    scale: Callable[[int], float],
    candidates: int,
    generator: torch.Generator,
) -> Prepare:
    """Begin each stage with the next level of an architecture; see `grow_level`.

    Args:
        architecture: What the network grows to: there are as many stages as it has levels.
        scale: Returns the slope of new neurons from the number of the target.
        candidates: How many levels are drawn at each stage, at least 1.
        generator: The source of randomness.
    """

    def prepare(
        network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"], number: int
    ) -> Network:
        return grow_level(
            network,
            x,
            target,
            width=architecture.levels[len(network.architecture.levels)],
            scale=scale(number),
            candidates=candidates,
            generator=generator,
        )

    return prepare
