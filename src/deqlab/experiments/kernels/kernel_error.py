"""Error of the high-dimensional equivalent of a DEQ's kernels against the dimension.

Expected: the relative spectral error |G - Gbar| / |G| falls as n and p grow together, for every
activation, on the published mixture: n = 0.8 p samples of two balanced classes, mu_a = 8 e_(8a),
C_a = (1 + 8 a / sqrt(p)) I. Source: Ling et al. (2024, arXiv:2402.02697), the figure of relative
errors against p; its numbers are not listed there, and those of the docs are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from deqlab.experiments.base import Experiment, Job, Row, Verdict, cross
from deqlab.experiments.comparing.evidence import median_of, outcome, select
from deqlab.experiments.config import Config, check_increasing, require
from deqlab.experiments.page import Page, chart, column, table
from deqlab.inputs.kernel_data import published_mixture
from deqlab.kernels.equivalents import equivalent
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import ACTIVATIONS, Trained
from deqlab.kernels.spectra import power_law, relative_error

PUBLISHED = ("relu", "tanh", "leaky_relu", "elu", "swish", "erf")
"""The activations of the figure."""

TRAINED: Trained = "readout+recurrent"
"""The weights of the NTK of the figure."""


@dataclass(frozen=True, kw_only=True)
class KernelErrorConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the data for each.
        activations: The arms: keys of `ACTIVATIONS`.
        dimensions: The values of p, increasing; n is 0.8 p.
        sigma_a2: The variance of the recurrent weights, in [0, 1).
    """

    activations: tuple[str, ...] = PUBLISHED
    dimensions: tuple[int, ...] = (100, 200, 400, 800)
    sigma_a2: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.activations:
            require(name in ACTIVATIONS, f"activations are {', '.join(ACTIVATIONS)}; got {name!r}")
        require(len(self.activations) > 0, "activations needs at least one name")
        check_increasing(self, "dimensions", count=2, least=10)
        require(0 <= self.sigma_a2 < 1, f"sigma_a2 must be in [0, 1), got {self.sigma_a2}")


def run(config: KernelErrorConfig, job: Job) -> Iterator[Row]:
    """Compare exact kernels with their equivalents at each dimension."""
    kernel = ImplicitKernel(activation=ACTIVATIONS[job.arm], sigma_a2=config.sigma_a2)
    errors = []
    for p in config.dimensions:
        mixture = published_mixture(p)
        x = mixture.sample(torch.Generator().manual_seed(job.seed))
        errors.append(relative_error(equivalent(kernel, x, mixture).dense(), kernel.conjugate(x)))
        tangent = equivalent(kernel, x, mixture, kind="tangent", trained=TRAINED).dense()
        yield {
            "kind": "point",
            "p": p,
            "error": errors[-1],
            "tangent_error": relative_error(tangent, kernel.tangent(x, trained=TRAINED)),
        }
    yield {
        "kind": "summary",
        "label": repr(kernel.activation),
        "matching": None,
        "error": errors[-1],
        "fall": errors[-1] / errors[0],
        "rate": power_law(errors, config.dimensions),
    }


def verdict(config: KernelErrorConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the error falls for every activation."""
    falls = {arm: median_of(rows, "fall", arm=arm) for arm in config.activations}
    falling = [fall < 1 for fall in falls.values()]
    rate = median(row["rate"] for row in select(rows))
    first, last = config.dimensions[0], config.dimensions[-1]
    return Verdict(
        outcome=outcome(falling),
        sentence=f"From p = {first} to {last} the relative spectral error of the equivalent CK "
        f"falls for {sum(falling)} of {len(falls)} activations, like p^-{rate:.2f} in the median.",
        details=tuple(f"{arm}: times {fall:.2f}." for arm, fall in falls.items() if fall >= 1),
    )


_CHARTS = tuple(
    chart(
        "point",
        "p",
        field,
        title=f"Error of the equivalent {kernel} against the dimension",
        caption="|exact - equivalent| / |exact| in spectral norm; n = 0.8 p samples.",
        y_label="relative spectral error",
        y_scale="log",
    )
    for field, kernel in (("error", "CK"), ("tangent_error", "NTK"))
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
        charts=_CHARTS,
        tables=(
            table(
                "point",
                column("error", "CK"),
                column("tangent_error", "NTK", better="lower"),
                title="Relative spectral error",
                caption="By activation and dimension.",
                by="p",
            ),
        ),
    ),
    plan=cross(lambda config: config.activations),
    run=run,
    judge=verdict,
)
