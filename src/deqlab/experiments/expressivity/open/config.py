"""The fields of `open-sawtooth`, and the networks that compete."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_positive, require
from deqlab.experiments.expressivity.open.competition import Competition
from deqlab.expressivity.search.network import Wiring

ROUTES = ("plain", "curriculum", "construction", "monotone", "growth")

POINTS_PER_REGION = 4
"""At least, on average: with fewer of them the data does not show the sawtooth."""

LARGEST = 15
"""Of k. Beyond, a training set with four points in each region is too much for dense Jacobians."""


@dataclass(frozen=True, kw_only=True)
class OpenConfig(Competition):
    """The fields of the experiment, beside those of `Competition`.

    There are at least k neurons, and four training points a region. Steps are as said there on
    every route but "monotone".

    Attributes:
        log2_regions: k, 1 to 15.
        candidates: Levels that are tried at each stage of growth.
        adam_steps: Of the route "monotone", where training is by Adam.
        learning_rate: Of Adam, which falls to 0 as a cosine.
        batch_size: Of Adam, drawn from the training points.
        penalties: Weights of the Jacobian penalty |df/dz|_F^2 / width on the route "monotone".
    """

    log2_regions: int = 5
    routes: tuple[str, ...] = ROUTES
    train_samples: int = 1000
    steps_per_stage: int = 60
    noises: tuple[float, ...] = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
    candidates: int = 32
    adam_steps: int = 1000
    learning_rate: float = 1e-2
    batch_size: int = 128
    penalties: tuple[float, ...] = (0.0, 1e-2)

    known_routes: ClassVar[tuple[str, ...]] = ROUTES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "candidates", "adam_steps", "batch_size")
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

    @property
    @override
    def deq(self) -> Wiring:
        return Wiring((1,) * self.width, dense=True)

    @property
    @override
    def narrowest(self) -> Wiring:
        return Wiring((2,) * self.log2_regions, dense=False)
