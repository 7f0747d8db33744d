"""What the open problems share in their fields: one DEQ, and the FNNs of equal cost."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from deqlab.experiments.config import Config, check_at_least, check_at_most, require
from deqlab.expressivity.search.network import Wiring

CLOSE = 0.25
"""FLOPs that differ by at most a quarter are equal."""

FRESH = tuple(range(100, 108))
"""Seeds on which no recipe was sought: those below were looked at on the way to the recipes."""


@dataclass(frozen=True, kw_only=True)
class Competition(Config, ABC):
    """The fields of an open problem.

    Attributes:
        seeds: Of everything that is drawn but the data, which is the same for all.
        width: Neurons of the DEQ.
        depths: Hidden layers of FNNs whose FLOPs match; the narrowest exact one is always there.
        routes: Any of those that there are.
        train_samples: Points in training.
        test_samples: Points, none of them for training.
        steps_per_stage: Levenberg-Marquardt steps; `width` times as many are what each network
            has in all.
        noises: Relative noise on exact constructions.
    """

    seeds: tuple[int, ...] = FRESH
    width: int = 10
    depths: tuple[int, ...] = (1, 2, 3, 4, 5)
    routes: tuple[str, ...]
    train_samples: int
    test_samples: int = 4096
    steps_per_stage: int
    noises: tuple[float, ...]

    known_routes: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "train_samples", "test_samples", "steps_per_stage")
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

    @property
    @abstractmethod
    def deq(self) -> Wiring:
        """The DEQ."""

    @property
    @abstractmethod
    def narrowest(self) -> Wiring:
        """The narrowest FNN that is known to hold the target."""

    @property
    def steps(self) -> int:
        """Levenberg-Marquardt steps of each network, in all."""
        return self.steps_per_stage * self.width

    @property
    def fnns(self) -> tuple[Wiring, ...]:
        """The FNNs that compete: one a depth, and the narrowest unless it costs more."""
        budget = self.deq.step_flops(self.train_samples)
        matched = [
            Wiring((matched_width(depth, budget, self.train_samples),) * depth, dense=False)
            for depth in self.depths
        ]
        exact = self.narrowest
        known = exact in matched or exact.step_flops(self.train_samples) > (1 + CLOSE) * budget
        return (*matched, *([] if known else [exact]))


def matched_width(depth: int, budget: float, num_points: int) -> int:
    """Return the width of an FNN whose steps cost as many FLOPs as the budget.

    The closest one, if it is within a quarter of the budget; else the largest one below it.

    Raises:
        ValueError: Even with one neuron a level the FNN costs more.
    """

    def cost(width: int) -> float:
        return Wiring((width,) * depth, dense=False).step_flops(num_points)

    width = 1
    while cost(width + 1) <= budget:
        width += 1
    if cost(width) > (1 + CLOSE) * budget:
        raise ValueError(
            f"depths: an FNN of {depth} hidden layers costs {cost(1):.3g} FLOPs a step at width 1, "
            f"and the DEQ {budget:.3g}; take fewer layers"
        )
    over = cost(width + 1)
    closer = over - budget < budget - cost(width)
    return width + 1 if closer and over <= (1 + CLOSE) * budget else width
