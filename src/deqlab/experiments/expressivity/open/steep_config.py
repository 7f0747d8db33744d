"""The fields of `open-steep`, and the networks that compete."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from deqlab.experiments.config import check_at_least, require
from deqlab.experiments.expressivity.open.competition import Competition
from deqlab.expressivity.search.network import Wiring

ROUTES = ("plain", "curriculum", "construction", "steepening", "growth")

LARGEST = 24
"""Of d. Beyond, a solve does not find which units are active: see `expressivity.steep_ramp`."""

FEWEST = 64
"""Training points: half of them are within four widths of the step, which leaves four on it."""


@dataclass(frozen=True, kw_only=True)
class OpenSteepConfig(Competition):
    """The fields of the experiment, beside those of `Competition`.

    There are two neurons at least, and 64 training points.

    Attributes:
        log2_steepness: d, 1 to 24, for a ramp of width delta = 2^-d.
        candidates: Levels that are tried at each stage of growth.
    """

    log2_steepness: int = 20
    routes: tuple[str, ...] = ROUTES
    train_samples: int = 2000
    steps_per_stage: int = 100
    noises: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    candidates: int = 32

    known_routes: ClassVar[tuple[str, ...]] = ROUTES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "candidates")
        d = self.log2_steepness
        require(1 <= d <= LARGEST, f"log2_steepness must be from 1 to {LARGEST}, got {d}")
        require(
            self.width >= 2,
            f"width must be at least 2, got {self.width}: a narrower DEQ is not known to hold the "
            "ramp",
        )
        require(
            self.train_samples >= FEWEST,
            f"train_samples must be at least {FEWEST}, got {self.train_samples}: fewer do not show "
            "the step",
        )

    @property
    @override
    def deq(self) -> Wiring:
        return Wiring((1,) * self.width, dense=True, loops=True, skip=False)

    @property
    @override
    def narrowest(self) -> Wiring:
        return Wiring((2,), dense=False)
