"""`picture`: one picture as a DEQ of one layer, beside sinusoidal layers in a row.

Huang, Bai & Kolter (2021), "(Implicit)^2: Implicit Layers for Implicit Representations", find that
one layer at its equilibrium about equals four in a row. There the state of each pixel goes on from
step to step, and no step of training looks for the equilibrium; here every step does, from there.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from math import sqrt
from typing import Any

from torch import nn

from deqlab.costs import num_parameters
from deqlab.experiments.page import Images, chart, column, table
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.gradients.phantom import Phantom
from deqlab.nn.cells.coordinates import CoordinateCell, FilterCell, SineCell
from deqlab.nn.models.coordinates import Field, InjectedLayers, sinusoidal_net
from deqlab.nn.models.twins import size_of_equal_parameters
from deqlab.nn.starts import Zeros
from deqlab.recipes.base import Arm, Recipe, recipe, twins
from deqlab.recipes.picture.config import PictureConfig
from deqlab.recipes.picture.task import PictureTask
from deqlab.recipes.picture.verdict import judge
from deqlab.solvers.picard import Picard


def phantom(config: PictureConfig) -> Gradient:
    """Return the gradient of a few terms."""
    return Phantom(steps=config.steps_of_phantom)


def exact(config: PictureConfig) -> Gradient:
    """Return the gradient of the equilibrium, to 1 %."""
    return Implicit(solver=GMRES(rtol=1e-2, max_products=20))


def deq(
    gradient: Callable[[PictureConfig], Gradient],
    cell: type[CoordinateCell] = SineCell,
    start: nn.Module | None = None,
) -> Callable[[PictureConfig, None], Field]:
    """Return what makes a DEQ; one with a start of its own has no warm starts."""

    def make(config: PictureConfig, data: None) -> Field:
        return Field(
            cell(2, config.deq_width, scale=config.scale, gain=config.cap, cap=config.cap),
            1,
            solver=Picard(rtol=config.rtol, max_steps=config.max_steps),
            gradient=gradient(config),
            start=start,
            on_failure="ignore",  # the log of the run speaks up
        )

    return make


def explicit(config: PictureConfig, width: int) -> nn.Sequential:
    """Return so many numbers wide sinusoidal layers."""
    return sinusoidal_net(2, width, 1, layers=config.layers, scale=config.scale)


def injected(config: PictureConfig, data: None) -> InjectedLayers:
    """Return the explicit network of the paper: as many layers, as wide as the DEQ."""
    return InjectedLayers(2, config.deq_width, 1, layers=config.layers, scale=config.scale)


def of_parameters(config: PictureConfig, data: None) -> nn.Sequential:
    """Return the explicit network with most nearly the parameters of the DEQ."""
    budget = num_parameters(deq(phantom)(config, None))
    make = partial(explicit, config)
    return make(size_of_equal_parameters(make, budget, count(1)))


def of_flops(config: PictureConfig, data: None, flops: float) -> nn.Sequential:
    """Return the explicit network whose training step takes most nearly so many FLOPs.

    On B pixels L layers of width m take 2 B (3 (L - 1) m^2 + 7 m): each product forward and twice
    backward, but that the coordinates need no gradient.
    """
    square = 3 * (config.layers - 1)
    budget = flops / (2 * min(config.batch_size, config.size**2))
    return explicit(config, max(1, round((sqrt(49 + 4 * square * budget) - 7) / (2 * square))))


CHARTS = (
    Images(
        title="The picture, and what the networks make of it",
        caption="After training. The first seed.",
        rows="picture",
        line="of",
        column="shown",
        size=128,
        colours="grey",
    ),
    chart(
        "step",
        "step",
        "test_evaluations",
        title="A solve of all pixels from its own start",
        caption="At the weights of this step of training.",
        y_label="evaluations of f",
    ),
    chart(
        "step",
        "step",
        "warm_evaluations",
        title="The same solve from the states of the last epoch",
        caption="At the same weights, to the same tolerance.",
        y_label="evaluations of f",
    ),
)

TABLES = (
    table(
        "summary",
        column("test_evaluations", "from its own start"),
        column("warm_evaluations", "from the last epoch"),
        column("evaluations", "while training"),
        column("seconds", "seconds of training"),
        title="What warm starts save",
        caption="Evaluations of f: the first two in a solve of all pixels at the last weights, the "
        "third in a step of the last part of training. Some arms train without warm starts.",
        mark_best=False,
    ),
    table(
        "search",
        column("validation_loss", "mean square error"),
        by="learning_rate",
        title="The same networks at each learning rate",
        caption="On all pixels after training; the paper takes 1e-3.",
        mark_best=False,
    ),
)

FULL = PictureConfig()
SMALL: dict[str, Any] = {
    "seeds": (0,),
    "picture": "dead-leaves",
    "size": 16,
    "width": 24,
    "deq_width": 16,
    "steps": 60,
    "batch_size": 64,
    "num_evaluations": 2,
    "scale": 10.0,
}
"""What the recipe is set to for a run of seconds, on a picture that is made."""


def picture() -> Recipe:
    """Return the recipe, with a verdict of its own."""
    found = recipe(
        {
            "deq": Arm(label="DEQ, warm starts", make=deq(phantom)),
            "deq-cold": Arm(label="DEQ, each solve from zero", make=deq(phantom, start=Zeros())),
            "deq-exact": Arm(label="DEQ, exact gradient", make=deq(exact)),
            "deq-filter": Arm(label="DEQ of filters", make=deq(phantom, FilterCell)),
            "layers": Arm(
                label="Sinusoidal layers in a row",
                make=lambda config, data: explicit(config, config.width),
            ),
            "layers-injected": Arm(label="Injected layers in a row", make=injected),
            **twins(of_parameters, of_flops),
        },
        name="picture",
        title="A picture as an equilibrium, and as layers in a row",
        source="Huang, Bai & Kolter (2021), (Implicit)^2: Implicit Layers for Implicit "
        "Representations.",
        origin="published",
        presets={
            "smoke": replace(FULL, **SMALL),
            "quick": replace(FULL, seeds=(0,), steps=500, num_evaluations=4),
            "full": FULL,
        },
        task=PictureTask,
        metric=PictureTask.metric,
        restored=restored,
        charts=(CHARTS, TABLES),
        tolerance="the rtol of the config",
        max_steps="at most as many steps as that says",
    )
    return replace(
        found,
        claim="A DEQ of one layer shows a picture within 1 dB of four sinusoidal layers, with at "
        "most 30 % of their weights, and takes fewer evaluations where solves start at the states "
        "of the last epoch.",
        judge=partial(judge, metric=PictureTask.metric),
    )


def restored(about: dict[str, Any]) -> None:
    """Return what a network is made again for: nothing, for its sizes are in the config."""


RECIPES = (picture(),)
