"""Kernels of finite networks against those of infinite width.

Expected: the CK and the NTK of a DEQ of width m differ from their limits by O(1 / sqrt(m)), so that
the relative error in spectral norm falls by two for four times the width. Source: Ling et al.
(2024, arXiv:2402.02697), the Monte Carlo figure; the limits are those of Feng & Kolter (2020),
"On the neural tangent kernel of equilibrium models". The second NTK, of all weights, is deqlab's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from deqlab.experiments.base import Experiment, Job, Row, Verdict, summaries
from deqlab.experiments.config import Config, check_at_least, require
from deqlab.experiments.kernels.data import published_mixture
from deqlab.experiments.kernels.kernel_error import ACTIVATIONS, relative_error
from deqlab.experiments.page import Chart, Column, Page, Table
from deqlab.kernels import ImplicitKernel, empirical_conjugate, empirical_tangent

KERNELS = {"conjugate": "CK", "readout+recurrent": "NTK, B frozen", "all": "NTK, all weights"}
SLOPE = 0.15
"""How far from 1/2 the measured rate may be."""


@dataclass(frozen=True, kw_only=True)
class KernelMonteCarloConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of all weights for each.
        activation: Of `kernel_error.ACTIVATIONS`.
        p: Dimension of the data; n is 0.8 p.
        widths: m, increasing.
        sigma_a2: Variance of the recurrent weights, in [0, 1/4): the finite DEQ must contract.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    activation: str = "relu"
    p: int = 100
    widths: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    sigma_a2: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 10, "p")
        require(
            self.activation in ACTIVATIONS,
            f"activation is one of {', '.join(ACTIVATIONS)}; got {self.activation!r}",
        )
        increasing = sorted(set(self.widths)) == list(self.widths)
        require(
            len(self.widths) >= 2 and self.widths[0] >= 1 and increasing,
            f"widths needs two or more increasing numbers, got {list(self.widths)}",
        )
        require(0 <= self.sigma_a2 < 0.25, f"sigma_a2 must be in [0, 0.25), got {self.sigma_a2}")


def check(config: KernelMonteCarloConfig) -> None:
    """Nothing can be absent."""


def plan(config: KernelMonteCarloConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per kernel and seed."""
    return [Job(arm=arm, seed=seed) for arm in KERNELS for seed in config.seeds]


def run(config: KernelMonteCarloConfig, job: Job) -> Iterator[Row]:
    """Measure the error of one draw at each width."""
    kernel = ImplicitKernel(activation=ACTIVATIONS[config.activation], sigma_a2=config.sigma_a2)
    x = published_mixture(config.p).sample(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(job.seed)
    if job.arm == "conjugate":
        exact = kernel.conjugate(x)
    else:
        exact = kernel.tangent(x, trained=job.arm)  # type: ignore[arg-type]
    errors = []
    for width in config.widths:
        if job.arm == "conjugate":
            found = empirical_conjugate(kernel, x, width=width, generator=generator)
        else:
            found = empirical_tangent(
                kernel,
                x,
                width=width,
                generator=generator,
                trained=job.arm,  # type: ignore[arg-type]
            )
        errors.append(relative_error(found.mean, exact))
        yield {"kind": "point", "width": width, "error": errors[-1]}
    yield {
        "kind": "summary",
        "label": KERNELS[job.arm],
        "matching": None,
        "error": errors[-1],
        # Of error ~ m^-r, between the first and the last width.
        "rate": -math.log(errors[-1] / errors[0]) / math.log(config.widths[-1] / config.widths[0]),
    }


def verdict(config: KernelMonteCarloConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the errors fall like one over the root of the width."""
    rates = {
        arm: median(row["rate"] for row in summaries(rows) if row["arm"] == arm) for arm in KERNELS
    }
    good = [arm for arm, rate in rates.items() if abs(rate - 0.5) < SLOPE]
    told = ", ".join(f"m^-{rate:.2f} ({KERNELS[arm]})" for arm, rate in rates.items())
    sentence = (
        f"From width {config.widths[0]} to {config.widths[-1]} the relative error of a finite "
        f"{config.activation} DEQ falls like {told}; expected m^-0.5."
    )
    if len(good) == len(rates):
        return Verdict(outcome="holds", sentence=sentence)
    return Verdict(outcome="holds partly" if good else "does not hold here", sentence=sentence)


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
    page=Page(
        charts=(
            Chart(
                title="Error of a finite DEQ's kernel against its width",
                caption="|finite - limit| / |limit| in spectral norm; one draw of the weights.",
                rows="point",
                x="width",
                y="error",
                x_label="width",
                y_label="relative spectral error",
                x_scale="log",
                y_scale="log",
            ),
        ),
        tables=(
            Table(
                title="Relative spectral error",
                caption="By kernel and width.",
                rows="point",
                columns=(Column(field="error", label="error", format="number", better="lower"),),
                by="width",
            ),
        ),
    ),
    check=check,
    plan=plan,
    run=run,
    judge=verdict,
)
