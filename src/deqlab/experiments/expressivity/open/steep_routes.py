"""The config of `open-steep`: its fields, its data, and its routes to a trained ramp.

    plain           random weights; one stage, on the last ramp
    curriculum      random weights; ramps of slope 2, 4 .. 2^d, each from where the last one ended
    construction    an exact construction with noise; one stage, on the last ramp
    steepening      the curriculum, but each stage begins with the network made twice as steep
    growth          on the ramp of slope 2 a level more a stage; then steepening

The exact ones are, with delta = 2^-d, the DEQ of `expressivity.steep_ramp` and the FNN of one layer

    y = relu(x / delta) - relu(x / delta - 1).

A curriculum does not refit its readout, as that of the sawtooth does: where the readout has weights
of 2^d, the ridge of the least-squares problem undoes what a stage has learned. It was tried.
Loops are trained as they are; log(1 - w) in place of w was tried, and was no better, as steps may
take it to where 1 - w is 0 to rounding.

Half of the points are within 4 delta of the step, see `tasks.steep`. Each stage has its own, and
new ones: kinks between two points, which a loss cannot see, are seen at the next stage.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.experiments.base import Job, Row
from deqlab.experiments.config import require
from deqlab.experiments.expressivity.open.competition import Competition, Points
from deqlab.expressivity.bounds import largest_infinity_norm, smallest_infinity_norm
from deqlab.expressivity.constructions import steep_ramp
from deqlab.expressivity.search.initial import random_network
from deqlab.expressivity.search.modules import from_deq
from deqlab.expressivity.search.network import Architecture, Network, identity
from deqlab.expressivity.search.stages import Route, grow, keep, rescale
from deqlab.tasks import steep

ROUTES = ("plain", "curriculum", "construction", "steepening", "growth")

LARGEST = 24
"""The largest d: beyond, a solve does not find which units are active; see
`expressivity.steep_ramp`."""

FEWEST = 64
"""The least number of training points: half of them are within four widths of the step, which
leaves four on it."""

GENTLEST = 1
"""d of the first stage."""


@dataclass(frozen=True, kw_only=True)
class OpenSteepConfig(Competition):
    """The fields of the experiment, beside those of `Competition`.

    There are at least two neurons, and 64 training points.

    Attributes:
        log2_steepness: d, 1 to 24, for a ramp of width delta = 2^-d.
    """

    log2_steepness: int = 20
    routes: tuple[str, ...] = ROUTES
    train_samples: int = 2000
    steps_per_stage: int = 100
    noises: tuple[float, ...] = (1e-3, 1e-2, 1e-1)

    known_routes: ClassVar[tuple[str, ...]] = ROUTES
    number: ClassVar[str] = "d"
    hardest_field: ClassVar[str] = "log2_steepness"
    new_points: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
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

    @override
    def sample(self, num_samples: int, number: int, generator: torch.Generator) -> Points:
        delta = 2.0**-number
        x, y = steep.sample(
            num_samples,
            curve=steep.Ramp(delta),
            delta=delta,
            generator=generator,
            dtype=torch.float64,
        )
        return x[:, 0], y[:, 0]

    @override
    def exact(self) -> tuple[Network, Network]:
        delta = 2.0**-self.log2_steepness
        deq = from_deq(steep_ramp(delta), width=self.width)
        a = [[0, 0, 1 / delta, 0], [0, 0, 1 / delta, -1], [1, -1, 0, 0]]
        return deq, Network(Architecture((2,), dense=False), torch.tensor(a, dtype=torch.float64))

    @override
    def route(self, name: str, architecture: Architecture, generator: torch.Generator) -> Route:
        d, levels = self.log2_steepness, len(architecture.levels)
        steeper = range(GENTLEST + 1, d + 1)
        if name == "growth":
            tried, gentle = self.candidates, (GENTLEST,) * levels
            prepare = grow(
                architecture, scale=lambda number: 1.0, candidates=tried, generator=generator
            )
            grown = Route(identity(architecture)).then(gentle, prepare, candidates=tried)
            return grown.then(steeper, rescale)
        first = d if name == "plain" else GENTLEST
        start = random_network(architecture, *self.train(first), generator)
        route = Route(start).then((first,))
        if name == "plain":
            return route
        return route.then(steeper, rescale if name == "steepening" else keep)

    @override
    def measured(self, job: Job, module: nn.Module, errors: Float[Tensor, " N"]) -> Row:
        """Return the largest error and norm, and the bound on the norm of such an FNN."""
        error, norm = errors.abs().amax().item(), largest_infinity_norm(module)
        row = {"network": job.settings["network"], "error": error, "norm": norm}
        depth, run = job.settings["depth"], 2.0**-self.log2_steepness
        if depth is not None:
            row["bound"] = smallest_infinity_norm(run=run, depth=depth, error=error)
        return row
