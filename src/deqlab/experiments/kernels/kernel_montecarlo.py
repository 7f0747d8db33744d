"""Kernels of finite networks against those of infinite width.

Expected: the CK and the NTK of a DEQ of width m differ from their limits by O(1 / sqrt(m)), so that
the relative error in spectral norm falls by two for four times the width. Source: Ling et al.
(2024, arXiv:2402.02697), the Monte Carlo figure; the limits are those of Feng & Kolter (2020),
"On the neural tangent kernel of equilibrium models". The second NTK, of all weights, is deqlab's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from deqlab.experiments.base import Experiment, Job, Row, Verdict, cross
from deqlab.experiments.comparing.evidence import median_of, outcome
from deqlab.experiments.config import (
    Config,
    check_at_least,
    check_choice,
    check_increasing,
    require,
)
from deqlab.experiments.page import chart, charts_and_table
from deqlab.inputs.kernel_data import published_mixture
from deqlab.kernels.empirical import empirical_conjugate, empirical_tangent
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import ACTIVATIONS, Trained
from deqlab.kernels.spectra import power_law, relative_error

KERNELS = {"conjugate": "CK", "readout+recurrent": "NTK, B frozen", "all": "NTK, all weights"}

TANGENT: dict[str, Trained] = {"readout+recurrent": "readout+recurrent", "all": "all"}
"""The weights that each tangent kernel belongs to."""

SLOPE = 0.15
"""How far from 1/2 the measured rate may be."""


@dataclass(frozen=True, kw_only=True)
class KernelMonteCarloConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of all weights for each.
        activation: A key of `ACTIVATIONS`.
        p: The dimension of the data; n is 0.8 p.
        widths: The values of m, increasing.
        sigma_a2: The variance of the recurrent weights, in [0, 1/4): the finite DEQ must contract.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    activation: str = "relu"
    p: int = 100
    widths: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    sigma_a2: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 10, "p")
        check_choice(self, "activation", ACTIVATIONS)
        check_increasing(self, "widths", count=2, least=1)
        require(0 <= self.sigma_a2 < 0.25, f"sigma_a2 must be in [0, 0.25), got {self.sigma_a2}")


def run(config: KernelMonteCarloConfig, job: Job) -> Iterator[Row]:
    """Measure the error of one draw at each width."""
    kernel = ImplicitKernel(activation=ACTIVATIONS[config.activation], sigma_a2=config.sigma_a2)
    x = published_mixture(config.p).sample(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(job.seed)
    trained = TANGENT.get(job.arm)
    exact = kernel.conjugate(x) if trained is None else kernel.tangent(x, trained=trained)
    errors = []
    for width in config.widths:
        if trained is None:
            found = empirical_conjugate(kernel, x, width=width, generator=generator)
        else:
            found = empirical_tangent(kernel, x, width=width, generator=generator, trained=trained)
        errors.append(relative_error(found.mean, exact))
        yield {"kind": "point", "width": width, "error": errors[-1]}
    yield {
        "kind": "summary",
        "label": KERNELS[job.arm],
        "matching": None,
        "error": errors[-1],
        "rate": power_law(errors, config.widths),
    }


def verdict(config: KernelMonteCarloConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the errors fall like one over the root of the width."""
    rates = {arm: median_of(rows, "rate", arm=arm) for arm in KERNELS}
    told = ", ".join(f"m^-{rate:.2f} ({KERNELS[arm]})" for arm, rate in rates.items())
    return Verdict(
        outcome=outcome([abs(rate - 0.5) < SLOPE for rate in rates.values()]),
        sentence=f"From width {config.widths[0]} to {config.widths[-1]} the relative error of a "
        f"finite {config.activation} DEQ falls like {told}; expected m^-0.5.",
    )


EXPERIMENT = Experiment(
    name="kernel-montecarlo",
    title="Kernels of finite DEQs against their limits",
    claim="The conjugate and tangent kernels of a random DEQ tend to their limits of infinite "
    "width, with an error of one over the root of the width.",
    source="Ling et al. (2024, arXiv:2402.02697), the Monte Carlo figure.",
    origin="published",
    presets={
        "smoke": KernelMonteCarloConfig(seeds=(0,), p=20, widths=(32, 128)),
        "quick": KernelMonteCarloConfig(),
        "full": KernelMonteCarloConfig(
            seeds=tuple(range(20)), p=200, widths=(128, 256, 512, 1024, 2048, 4096)
        ),
    },
    page=charts_and_table(
        chart(
            "point",
            "width",
            "error",
            title="Error of a finite DEQ's kernel against its width",
            caption="|finite - limit| / |limit| in spectral norm; one draw of the weights.",
            y_label="relative spectral error",
        ),
        title="Relative spectral error",
        caption="By kernel and width.",
    ),
    plan=cross(KERNELS),
    run=run,
    judge=verdict,
)
