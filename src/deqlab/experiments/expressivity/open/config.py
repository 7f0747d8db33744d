"""The fields of `open-sawtooth`, and the networks that compete."""

from dataclasses import dataclass

from deqlab.experiments.base import (
    check_at_least,
    check_positive,
    check_seeds,
    require,
)
from deqlab.experiments.expressivity.open.wiring import Wiring

ROUTES = ("plain", "curriculum", "construction", "monotone", "growth")

CLOSE = 0.25
"""FLOPs that differ by at most a quarter are equal."""

POINTS_PER_REGION = 4
"""At least, on average: with fewer of them the data does not show the sawtooth."""

LARGEST = 15
"""Of k. Beyond, a training set with four points in each region is too much for dense Jacobians."""


@dataclass(frozen=True, kw_only=True)
class OpenConfig:
    """The fields of the experiment.

    Attributes:
        seeds: Of everything that is drawn but the data, which is the same for all.
        log2_regions: k, 1 to 15.
        width: Neurons of the DEQ, k or more.
        depths: Hidden layers of FNNs whose FLOPs match; one of k layers of 2 is always there.
        routes: Any of "plain", "curriculum", "construction", "monotone" and "growth".
        train_samples: Uniform points, at least four a region.
        test_samples: Uniform points, none of them for training.
        steps_per_stage: Levenberg-Marquardt steps for each neuron that the DEQ grows by; `width`
            times as many are what each network has in all, on every route but "monotone".
        candidates: Levels that are tried at each stage of growth.
        noises: Relative noise on exact constructions.
        adam_steps: Of the route "monotone", where training is by Adam.
        learning_rate: Of Adam, which falls to 0 as a cosine.
        batch_size: Of Adam, drawn from the training points.
        penalties: Weights of the Jacobian penalty |df/dz|_F^2 / width on the route "monotone".
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    log2_regions: int = 5
    width: int = 10
    depths: tuple[int, ...] = (1, 2, 3, 4, 5)
    routes: tuple[str, ...] = ROUTES
    train_samples: int = 1000
    test_samples: int = 4096
    steps_per_stage: int = 60
    candidates: int = 32
    noises: tuple[float, ...] = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
    adam_steps: int = 1000
    learning_rate: float = 1e-2
    batch_size: int = 128
    penalties: tuple[float, ...] = (0.0, 1e-2)

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        check_at_least(
            self, 1, "test_samples", "steps_per_stage", "candidates", "adam_steps", "batch_size"
        )
        check_positive(self, "learning_rate")
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
        self._check_choices()

    def _check_choices(self) -> None:
        for name in ("depths", "routes"):
            require(len(getattr(self, name)) > 0, f"{name} needs one or more entries")
        for name in ("depths", "routes", "noises", "penalties"):
            values = list(getattr(self, name))
            require(len(set(values)) == len(values), f"{name} must differ, got {values}")
        require(min(self.depths) >= 1, f"depths must be at least 1, got {list(self.depths)}")
        unknown = [route for route in self.routes if route not in ROUTES]
        require(not unknown, f"routes are {', '.join(ROUTES)}; got {', '.join(unknown)}")
        for name in ("noises", "penalties"):
            sizes = getattr(self, name)
            inside = all(0 <= size < float("inf") for size in sizes)
            require(inside, f"{name} must be 0 or more, and finite, got {list(sizes)}")

    @property
    def steps(self) -> int:
        """Levenberg-Marquardt steps of each network, in all."""
        return self.steps_per_stage * self.width

    @property
    def deq(self) -> Wiring:
        """The DEQ."""
        return Wiring((1,) * self.width, dense=True)

    @property
    def fnns(self) -> tuple[Wiring, ...]:
        """The FNNs that compete: one a depth, and the narrowest that holds the sawtooth."""
        budget = self.deq.step_flops(self.train_samples)
        matched = [
            Wiring((matched_width(depth, budget, self.train_samples),) * depth, dense=False)
            for depth in self.depths
        ]
        exact = Wiring((2,) * self.log2_regions, dense=False)
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
