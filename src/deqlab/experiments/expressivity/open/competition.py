"""The config of an open problem: a DEQ against the FNNs of equal cost, on data and by routes.

The DEQ and the narrowest FNN have the architectures of exact constructions; other FNNs match the
DEQ in the cost of a Levenberg-Marquardt step. Every network has as many of these on every route.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.experiments.base import Job, Row
from deqlab.experiments.config import TEST_SEED, Config, check_at_least, check_at_most, require
from deqlab.expressivity.search.network import CLOSE, Architecture, Network, matching_width
from deqlab.expressivity.search.stages import Route

FRESH = tuple(range(100, 108))
"""Seeds on which no recipe was sought: those below were looked at on the way to the recipes."""

TRAIN_SEED = TEST_SEED - 2
"""The seed of training points. Networks are drawn from generators of their own."""

Points: TypeAlias = tuple[Float[Tensor, " N"], Float[Tensor, " N"]]
"""Points, and the values of a target there."""


@dataclass(frozen=True, kw_only=True)
class Competition(Config, ABC):
    """The config of an open problem, whose targets are numbered by how hard they are.

    Attributes:
        seeds: Seeds of everything that is drawn but the data, which is the same for all.
        width: The number of neurons of the DEQ.
        depths: Hidden layers of FNNs whose FLOPs match; the narrowest exact one is always there.
        routes: The routes to take, each one of `known_routes`.
        train_samples: The number of training points.
        test_samples: The number of test points, which are others.
        steps_per_stage: Levenberg-Marquardt steps; `width` times as many are what each network
            has in all.
        noises: Relative noise on exact constructions.
        candidates: The number of levels that are tried at each stage of growth.
    """

    seeds: tuple[int, ...] = FRESH
    width: int = 10
    depths: tuple[int, ...] = (1, 2, 3, 4, 5)
    routes: tuple[str, ...]
    train_samples: int
    test_samples: int = 4096
    steps_per_stage: int
    noises: tuple[float, ...]
    candidates: int = 32

    known_routes: ClassVar[tuple[str, ...]]
    number: ClassVar[str]
    """What the number of a target is called in the rows of its stage."""
    hardest_field: ClassVar[str]
    """The field with the number of the target that is asked for."""
    new_points: ClassVar[bool]
    """Whether each target has training points of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "train_samples", "test_samples", "steps_per_stage", "candidates")
        check_at_most(self, 2**20, "train_samples", "test_samples")
        for name in ("depths", "routes"):
            require(len(getattr(self, name)) > 0, f"{name} needs one or more entries")
            self._check_different(name)
        require(min(self.depths) >= 1, f"depths must be at least 1, got {list(self.depths)}")
        check_at_most(self, 100, "depths")
        check_at_most(self, 1000, "width")  # each neuron of the DEQ is a level of its own
        unknown = [route for route in self.routes if route not in self.known_routes]
        require(not unknown, f"routes are {', '.join(self.known_routes)}; got {', '.join(unknown)}")
        self._check_sizes("noises")

    def _check_different(self, name: str) -> None:
        values = list(getattr(self, name))
        require(len(set(values)) == len(values), f"{name} must differ, got {values}")

    def _check_sizes(self, name: str) -> None:
        """Raise ValueError unless a field has different numbers of 0 or more."""
        self._check_different(name)
        sizes = getattr(self, name)
        inside = all(0 <= size < float("inf") for size in sizes)
        require(inside, f"{name} must be 0 or more, and finite, got {list(sizes)}")

    @abstractmethod
    def sample(self, num_samples: int, number: int, generator: torch.Generator) -> Points:
        """Return points for the target of a number."""

    @abstractmethod
    def exact(self) -> tuple[Network, Network]:
        """Return the hardest target as a DEQ of `width` neurons, and as the narrowest FNN."""

    @abstractmethod
    def route(self, name: str, architecture: Architecture, generator: torch.Generator) -> Route:
        """Return the route of a name, but for that from a construction."""

    @abstractmethod
    def measured(self, job: Job, module: nn.Module, errors: Float[Tensor, " N"]) -> Row:
        """Return what is told of a trained network beside its loss, from its test errors."""

    def train(self, number: int) -> Points:
        """Return the training points of a target."""
        seed = TRAIN_SEED - number * self.new_points
        return self.sample(self.train_samples, number, torch.Generator().manual_seed(seed))

    def test(self, number: int) -> Points:
        """Return the test points of a target."""
        return self.sample(self.test_samples, number, torch.Generator().manual_seed(TEST_SEED))

    @property
    def hardest(self) -> int:
        """The number of the target that is asked for."""
        return int(getattr(self, self.hardest_field))

    @property
    def steps(self) -> int:
        """The number of Levenberg-Marquardt steps of each network, in all."""
        return self.steps_per_stage * self.width

    @property
    def deq(self) -> Architecture:
        """The DEQ."""
        return self.exact()[0].architecture

    @property
    def fnns(self) -> tuple[Architecture, ...]:
        """The FNNs that compete: one a depth, and the narrowest unless it costs more."""
        deq, narrowest = (network.architecture for network in self.exact())
        samples, budget = self.train_samples, deq.step_flops(self.train_samples)
        widths = [matching_width(depth, budget, samples) for depth in self.depths]
        levels = [(width,) * depth for width, depth in zip(widths, self.depths, strict=True)]
        matched = [Architecture(each, dense=False) for each in levels]
        known = narrowest in matched or narrowest.step_flops(samples) > (1 + CLOSE) * budget
        return (*matched, *([] if known else [narrowest]))
