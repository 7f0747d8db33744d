"""Error of the high-dimensional equivalent of a DEQ's kernels against the dimension.

Expected: the relative spectral error |G - Gbar| / |G| falls as n and p grow together, for every
activation, on the published mixture: n = 0.8 p samples of two balanced classes, mu_a = 8 e_(8a),
C_a = (1 + 8 a / sqrt(p)) I. Source: Ling et al. (2024, arXiv:2402.02697), the figure of relative
errors against p; its numbers are not listed there, and those of the docs are ours.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from deqlab.activations import (
    ELU,
    Activation,
    Erf,
    HardTanh,
    Identity,
    LeakyReLU,
    ReLU,
    Swish,
    Tanh,
)
from deqlab.experiments.base import Experiment, Job, Row, Verdict, summaries
from deqlab.experiments.config import Config, require
from deqlab.experiments.kernels.data import published_mixture
from deqlab.experiments.page import Chart, Column, Page, Table
from deqlab.kernels import ImplicitKernel, equivalent
from deqlab.kernels.kinds import Trained

ACTIVATIONS: dict[str, Activation] = {
    "relu": ReLU(),
    "tanh": Tanh(),
    "leaky_relu": LeakyReLU(0.1),
    "elu": ELU(),
    "swish": Swish(),
    "erf": Erf(),
    "hard_tanh": HardTanh(),
    "identity": Identity(),
}
PUBLISHED = ("relu", "tanh", "leaky_relu", "elu", "swish", "erf")
"""Those of the figure."""

TRAINED: Trained = "readout+recurrent"
"""The NTK of the figure."""


@dataclass(frozen=True, kw_only=True)
class KernelErrorConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the data for each.
        activations: Arms, of `ACTIVATIONS`.
        dimensions: p, increasing; n is 0.8 p.
        sigma_a2: Variance of the recurrent weights, in [0, 1).
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    activations: tuple[str, ...] = PUBLISHED
    dimensions: tuple[int, ...] = (100, 200, 400, 800)
    sigma_a2: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.activations:
            require(name in ACTIVATIONS, f"activations are {', '.join(ACTIVATIONS)}; got {name!r}")
        require(len(self.activations) > 0, "activations needs at least one name")
        increasing = sorted(set(self.dimensions)) == list(self.dimensions)
        require(
            len(self.dimensions) >= 2 and self.dimensions[0] >= 10 and increasing,
            f"dimensions needs two or more increasing numbers of at least 10, got "
            f"{list(self.dimensions)}",
        )
        require(0 <= self.sigma_a2 < 1, f"sigma_a2 must be in [0, 1), got {self.sigma_a2}")


def check(config: KernelErrorConfig) -> None:
    """Nothing can be absent."""


def plan(config: KernelErrorConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per activation and seed."""
    return [Job(arm=arm, seed=seed) for arm in config.activations for seed in config.seeds]


def run(config: KernelErrorConfig, job: Job) -> Iterator[Row]:
    """Compare exact kernels with their equivalents at each dimension."""
    kernel = ImplicitKernel(activation=ACTIVATIONS[job.arm], sigma_a2=config.sigma_a2)
    errors = []
    for p in config.dimensions:
        mixture = published_mixture(p)
        x = mixture.sample(torch.Generator().manual_seed(job.seed))
        error = relative_error(equivalent(kernel, x, mixture).dense(), kernel.conjugate(x))
        tangent = equivalent(kernel, x, mixture, kind="tangent", trained=TRAINED).dense()
        errors.append(error)
        yield {
            "kind": "point",
            "p": p,
            "error": error,
            "tangent_error": relative_error(tangent, kernel.tangent(x, trained=TRAINED)),
        }
    yield {
        "kind": "summary",
        "label": repr(kernel.activation),
        "matching": None,
        "error": errors[-1],
        "fall": errors[-1] / errors[0],
        # Of error ~ p^-r, between the first and the last dimension.
        "rate": -math.log(errors[-1] / errors[0])
        / math.log(config.dimensions[-1] / config.dimensions[0]),
    }


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Return |found - exact| / |exact| of symmetric matrices, in spectral norm."""
    gap, size = (torch.linalg.eigvalsh(m).abs().max() for m in (found - exact, exact))
    return float(gap / size)


def verdict(config: KernelErrorConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the error falls for every activation."""
    falls = {
        arm: median(row["fall"] for row in summaries(rows) if row["arm"] == arm)
        for arm in config.activations
    }
    falling = [arm for arm, fall in falls.items() if fall < 1]
    rates = [row["rate"] for row in summaries(rows)]
    first, last = config.dimensions[0], config.dimensions[-1]
    sentence = (
        f"From p = {first} to {last} the relative spectral error of the equivalent CK falls for "
        f"{len(falling)} of {len(falls)} activations, like p^-{median(rates):.2f} in the median."
    )
    if len(falling) == len(falls):
        return Verdict(outcome="holds", sentence=sentence)
    rises = tuple(f"{arm}: times {fall:.2f}." for arm, fall in falls.items() if fall >= 1)
    return Verdict(
        outcome="holds partly" if falling else "does not hold here",
        sentence=sentence,
        details=rises,
    )


def _chart(field: str, what: str) -> Chart:
    return Chart(
        title=f"Error of the equivalent {what} against the dimension",
        caption="|exact - equivalent| / |exact| in spectral norm; n = 0.8 p samples.",
        rows="point",
        x="p",
        y=field,
        x_label="p",
        y_label="relative spectral error",
        x_scale="log",
        y_scale="log",
    )


EXPERIMENT = Experiment(
    name="kernel-error",
    title="High-dimensional equivalents of DEQ kernels: error against dimension",
    claim="In high dimension the kernels of a DEQ on Gaussian mixtures are those of four nonlinear "
    "equations: the relative error falls as the dimension grows, for every activation.",
    source="Ling et al. (2024, arXiv:2402.02697), the figure of errors against p.",
    origin="published",
    presets={
        "smoke": KernelErrorConfig(seeds=(0,), activations=("relu", "erf"), dimensions=(40, 80)),
        "quick": KernelErrorConfig(),
        "full": KernelErrorConfig(
            seeds=tuple(range(8)), dimensions=(100, 200, 400, 800, 1600, 3200)
        ),
    },
    page=Page(
        charts=(_chart("error", "CK"), _chart("tangent_error", "NTK")),
        tables=(
            Table(
                title="Relative spectral error",
                caption="By activation and dimension.",
                rows="point",
                columns=(
                    Column(field="error", label="CK", format="number", better="lower"),
                    Column(field="tangent_error", label="NTK", format="number", better="lower"),
                ),
                by="p",
            ),
        ),
    ),
    check=check,
    plan=plan,
    run=run,
    judge=verdict,
)
