"""The config of `open-sawtooth`: its fields, its data, and its routes to a trained sawtooth.

    plain           random weights; one stage, on s_k
    curriculum      random weights; s_1, s_2 .. s_k, each stage with a readout fitted to it
    construction    an exact construction with noise; one stage, on s_k
    growth          a level more a stage; see `expressivity.search.growth`
    monotone        no stages: Adam on a monotone DEQ; see `monotone`

Training points are fixed and uniform, and so are test points, which are others.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.experiments.base import Job, Row
from deqlab.experiments.config import check_at_least, check_positive, require
from deqlab.experiments.expressivity.open.competition import Competition, Points
from deqlab.expressivity.constructions import narrow_sawtooth, sawtooth_fnn
from deqlab.expressivity.measured import pieces_of
from deqlab.expressivity.search.initial import random_network
from deqlab.expressivity.search.modules import from_deq, from_fnn
from deqlab.expressivity.search.network import Architecture, Network, identity
from deqlab.expressivity.search.stages import Route, grow, refit, stage_targets
from deqlab.tasks import sawtooth

ROUTES = ("plain", "curriculum", "construction", "monotone", "growth")

POINTS_PER_REGION = 4
"""The least number on average: with fewer of them the data does not show the sawtooth."""

LARGEST = 15
"""The largest k: beyond, four points in each region are too many for dense Jacobians."""


@dataclass(frozen=True, kw_only=True)
class OpenSawtoothConfig(Competition):
    """The fields of the experiment, beside those of `Competition`.

    There are at least k neurons, and four training points a region.

    Attributes:
        log2_regions: k, 1 to 15.
        adam_steps: The number of steps of Adam on the route "monotone".
        learning_rate: The learning rate of Adam, which falls to 0 as a cosine.
        batch_size: The batch size of Adam; batches are drawn from the training points.
        penalties: Weights of the Jacobian penalty |df/dz|_F^2 / width on the route "monotone".
    """

    log2_regions: int = 5
    routes: tuple[str, ...] = ROUTES
    train_samples: int = 1000
    steps_per_stage: int = 60
    noises: tuple[float, ...] = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
    adam_steps: int = 1000
    learning_rate: float = 1e-2
    batch_size: int = 128
    penalties: tuple[float, ...] = (0.0, 1e-2)

    known_routes: ClassVar[tuple[str, ...]] = ROUTES
    number: ClassVar[str] = "k"
    hardest_field: ClassVar[str] = "log2_regions"
    new_points: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "adam_steps", "batch_size")
        check_positive(self, "learning_rate")
        self._check_sizes("penalties")
        k = self.log2_regions
        require(1 <= k <= LARGEST, f"log2_regions must be from 1 to {LARGEST}, got {k}")
        require(
            self.width >= k,
            f"width must be at least log2_regions = {k}, got {self.width}: a narrower DEQ is not "
            "known to hold the sawtooth",
        )
        least = POINTS_PER_REGION * 2**k
        require(
            self.train_samples >= least,
            f"train_samples must be at least {least}, {POINTS_PER_REGION} for each of the 2^{k} "
            f"regions, got {self.train_samples}",
        )

    @override
    def sample(self, num_samples: int, number: int, generator: torch.Generator) -> Points:
        x, y = sawtooth.sample(
            num_samples, log2_regions=number, generator=generator, dtype=torch.float64
        )
        return x[:, 0], y[:, 0]

    @override
    def exact(self) -> tuple[Network, Network]:
        k = self.log2_regions
        deq = from_deq(narrow_sawtooth(k), width=self.width)
        return deq, from_fnn(sawtooth_fnn(k))

    @override
    def route(self, name: str, architecture: Architecture, generator: torch.Generator) -> Route:
        k, levels = self.log2_regions, len(architecture.levels)
        if name == "growth":
            prepare = grow(
                architecture,
                # With slopes of 2^-k the state of a DEQ stays near 1.
                scale=lambda number: 0.5**number if architecture.dense else 1.0,
                candidates=self.candidates,
                generator=generator,
            )
            targets, start = stage_targets(k, levels), identity(architecture)
            return Route(start).then(targets, prepare, candidates=self.candidates)
        targets = (k,) if name == "plain" else stage_targets(k, k)
        start = random_network(architecture, *self.train(targets[0]), generator)
        # The first readout is fitted already: to refit it changes nothing.
        return Route(start).then(targets, refit)

    @override
    def measured(self, job: Job, module: nn.Module, errors: Float[Tensor, " N"]) -> Row:
        """Return the linear regions on [0, 1], or nothing where rounding hides where they meet.

        With weights in the thousands edges are known to no more than 1e-9, and two pieces may
        overlap.
        """
        try:
            return {"regions": pieces_of(module, 0.0, 1.0).num_regions}
        except ValueError:
            return {}
