"""`deblur` and `inpainting`: pictures at an equilibrium, and by ten unrolled steps.

The blur is that of Gilton, Ongie & Willett (2021), "Deep Equilibrium Architectures for Inverse
Problems in Imaging": a Gaussian of 5 x 5 pixels with deviation 5, noise of .01. There the denoiser
is trained as one before, and is deeper; here each network trains from the start.

Unrolled networks have no cap on their denoiser, as one would write them. Nor has the DEQ, which
`RateControl` holds where its solves converge. A cap proves that a network contracts: arms with one
tell what it costs, and what of the difference is the cap's and not the equilibrium's.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from deqlab.experiments.page import chart, column, table
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.gradients.loops import Loops
from deqlab.nn.cells.data_consistency import DataConsistencyCell
from deqlab.nn.cells.gradient_step import GradientStepCell
from deqlab.nn.cells.proximal_gradient import ProximalGradientCell
from deqlab.nn.cells.reconstruction import ReconstructionCell
from deqlab.nn.denoiser import Denoiser
from deqlab.nn.deq import DEQ
from deqlab.nn.measurements.base import Measurement
from deqlab.recipes.base import Arm, Recipe, recipe
from deqlab.recipes.inverse.config import (
    DeblurConfig,
    InpaintingConfig,
    ReconstructionConfig,
)
from deqlab.recipes.inverse.task import ReconstructionTask
from deqlab.recipes.inverse.verdict import judge
from deqlab.solvers.anderson import Anderson


def exact(config: ReconstructionConfig) -> Gradient:
    """Return the gradient of the equilibrium, to 1 %."""
    return Implicit(solver=GMRES(rtol=1e-2, max_products=40))


def unrolled(config: ReconstructionConfig) -> Gradient:
    """Return the gradient through all steps of the unrolled network, in training and in use."""
    return Loops(steps=config.unrolled)


def network(
    cell: Callable[[Measurement, Denoiser], ReconstructionCell],
    gradient: Callable[[ReconstructionConfig], Gradient],
    *,
    cap: bool = False,
) -> Callable[[ReconstructionConfig, None], DEQ[Tensor]]:
    """Return what makes the network of a cell, at its equilibrium or unrolled."""

    def make(config: ReconstructionConfig, data: None) -> DEQ[Tensor]:
        denoiser = Denoiser(
            1,
            (config.size, config.size),
            width=config.width,
            layers=config.layers,
            cap=config.cap if cap else None,
        )
        return DEQ(
            cell(config.measurement(), denoiser),
            solver=Anderson(rtol=config.rtol, max_steps=config.max_steps, patience=40),
            gradient=gradient(config),
            on_failure="ignore",  # the log of the run speaks up
        )

    return make


def certified(cell: Callable[[Measurement, Denoiser], ReconstructionCell], label: str) -> Arm:
    """Return the arm of a DEQ that its cap proves to contract, by however little in a step."""
    make = network(cell, exact, cap=True)
    return Arm(label=f"DEQ, {label}, capped", make=make, controlled=False)


def twin(cell: Callable[[Measurement, Denoiser], ReconstructionCell], label: str) -> Arm:
    """Return the arm of an unrolled network."""
    return Arm(label=f"Unrolled, {label}", make=network(cell, unrolled), matching="parameters")


ARMS = {
    "deq": Arm(label="DEQ, data consistency", make=network(DataConsistencyCell, exact)),
    "deq-capped": certified(DataConsistencyCell, "data consistency"),
    "deq-gradient": certified(GradientStepCell, "gradient steps"),
    "deq-proximal": certified(ProximalGradientCell, "proximal gradient"),
    "unrolled": twin(DataConsistencyCell, "data consistency"),
    "unrolled-gradient": twin(GradientStepCell, "gradient steps"),
    "unrolled-proximal": twin(ProximalGradientCell, "proximal gradient"),
    "capped": Arm(
        label="Unrolled, data consistency, capped",
        make=network(DataConsistencyCell, unrolled, cap=True),
    ),
}

CHARTS = tuple(
    chart(
        "iterations",
        "iterations",
        field,
        title=title,
        caption=caption,
        x_label="iterations",
        x_scale="log",
        y_label="PSNR (dB)",
    )
    for field, title, caption in (
        (
            "psnr",
            "Quality after so many plain iterations",
            "On the test pictures, weights as trained. An unrolled network has learned what it "
            "does in its ten steps, and no more.",
        ),
        (
            "solver_psnr",
            "Quality after so many iterations of the solver",
            "The same weights, with Anderson acceleration and no tolerance.",
        ),
    )
)

TABLES = (
    table(
        "iterations",
        column("psnr", "PSNR, plain iterations (dB)"),
        column("solver_psnr", "PSNR, solver (dB)"),
        column("solver_residual", "relative residual, solver"),
        by="iterations",
        title="Quality after so many iterations",
        caption="On the test pictures. DEQs are trained at their equilibrium, unrolled networks "
        "after ten plain iterations.",
        mark_best=False,
    ),
)

SMALL: dict[str, Any] = {
    "seeds": (0,),
    "pictures": "dead-leaves",
    "size": 12,
    "train_size": 32,
    "test_size": 8,
    "width": 4,
    "layers": 2,
    "steps": 12,
    "learning_rates": (5e-3,),
    "batch_size": 4,
    "rtol": 1e-3,
    "num_evaluations": 2,
}
"""What a recipe is set to for a run of seconds, on pictures that are made."""

QUICK: dict[str, Any] = {"seeds": (0,), "steps": 200, "test_size": 40, "num_evaluations": 2}
"""And for one of minutes."""


def reconstruction(name: str, title: str, full: ReconstructionConfig) -> Recipe:
    """Return a recipe, with a verdict of its own.

    Args:
        name: What `deqlab train` calls it.
        title: Its heading.
        full: The config of its preset of that name.
    """
    found = recipe(
        ARMS,
        name=name,
        title=title,
        source="Gilton, Ongie & Willett (2021), Deep Equilibrium Architectures for Inverse "
        "Problems in Imaging.",
        origin="published",
        presets={"smoke": replace(full, **SMALL), "quick": replace(full, **QUICK), "full": full},
        task=ReconstructionTask,
        metric=ReconstructionTask.metric,
        restored=restored,
        fields=("test_loss",),
        charts=(CHARTS, TABLES),
        tolerance="the rtol of the config",
        max_steps="at most as many steps as that says",
    )
    return replace(
        found,
        claim="A DEQ reconstructs as well as the same network unrolled for 10 steps without its "
        "cap, and its quality varies by at most .1 dB from 10 to 200 iterations, where the "
        "unrolled one loses at least 1 dB.",
        judge=partial(judge, metric=ReconstructionTask.metric),
    )


def restored(about: dict[str, Any]) -> None:
    """Return what a network is made again for: nothing, for its sizes are in the config."""


RECIPES = (
    reconstruction("deblur", "Deblurring at an equilibrium, and by unrolled steps", DeblurConfig()),
    reconstruction(
        "inpainting",
        "Missing pixels at an equilibrium, and by unrolled steps",
        InpaintingConfig(),
    ),
)
