"""The spectrum of a DEQ's kernel: exact, in high dimension, and of explicit networks.

Expected: on Gaussian mixtures, and on images, the equivalent kernel has the histogram of
eigenvalues of the exact one, the isolated ones (spikes) included, and their eigenvectors; so has
the matched explicit network, and the plain one (the activation itself, as many layers) has not.
Source: Ling et al. (2024, arXiv:2402.02697), the figures of spectra on a Gaussian mixture and on
MNIST, digits 6 and 8, n = 400. Fashion-MNIST, the features of CIFAR-10 (of 640 images of two
classes) and the alignments are deqlab's.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch

from deqlab.costs import flops, seconds
from deqlab.errors import ConvergenceError
from deqlab.experiments.base import Experiment, Job, Row, cross_by_seed
from deqlab.experiments.config import (
    Config,
    UsageError,
    check_at_least,
    check_at_most,
    check_choice,
    require,
)
from deqlab.experiments.kernels.kernel_spectrum_report import PAGE, SPECTRA, verdict
from deqlab.inputs.kernel_data import KernelData, load
from deqlab.kernels import spectra
from deqlab.kernels.equivalents import equivalent
from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import ACTIVATIONS, Kind, Trained
from deqlab.kernels.lowrank import LowRankPlusIdentity
from deqlab.kernels.matching import match_explicit
from deqlab.kernels.network import ImplicitNetwork

Network: TypeAlias = ImplicitKernel | ExplicitKernel


@dataclass(frozen=True, kw_only=True)
class KernelSpectrumConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the samples for each.
        data: "mixture", image sets, or files (.csv, .tsv, .npy, .npz); one panel each.
        samples: n, of image sets and files; a mixture has 0.8 p.
        classes: The classes of image sets that are drawn from.
        dimension: p, of the mixture.
        activation: A key of `ACTIVATIONS`.
        sigma_a2: The variance of the recurrent weights, in [0, 1).
        kind: "conjugate" or "tangent".
        trained: Which weights a tangent kernel belongs to: "readout+recurrent" or "all".
        width: The width of the finite networks that are timed; 0 leaves them out.
        checksums: Checksums of files: a run goes on only with the data it began with.
        label: The column or array of files that holds the labels; see `inputs.kernel_data`.
        drop: Columns of tables that are left out.
        scaling: "as is" leaves the numbers of tables in their units.
    """

    data: tuple[str, ...] = ("mixture", "mnist", "fashion_mnist")
    samples: int = 400
    classes: tuple[int, ...] = (6, 8)
    dimension: int = 1000
    activation: str = "relu"
    sigma_a2: float = 0.2
    kind: Kind = "conjugate"
    trained: Trained = "readout+recurrent"
    width: int = 1024
    checksums: tuple[str, ...] = ("",)
    label: str | None = None
    drop: tuple[str, ...] | None = None
    scaling: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(set(self.data)) == len(self.data) > 0, "data needs one or more different names")
        check_at_least(self, 10, "samples", "dimension")
        check_at_least(self, 0, "width")
        check_at_most(self, 2**20, "samples", "dimension", "width")  # more would fill any memory
        require(len(self.classes) > 0, "classes needs at least one number")
        check_choice(self, "activation", ACTIVATIONS)
        check_choice(self, "kind", ("conjugate", "tangent"))
        check_choice(self, "trained", ("readout+recurrent", "all"))
        require(0 <= self.sigma_a2 < 1, f"sigma_a2 must be in [0, 1), got {self.sigma_a2}")

    @property
    def kernel(self) -> ImplicitKernel:
        """The kernel of the DEQ."""
        return ImplicitKernel(activation=ACTIVATIONS[self.activation], sigma_a2=self.sigma_a2)

    def draw(self, name: str, seed: int) -> KernelData:
        """Return one draw of the samples."""
        drawn = {"samples": self.samples, "classes": self.classes, "dimension": self.dimension}
        read = {"label": self.label, "drop": self.drop or (), "scaling": self.scaling}
        return load(name, seed=seed, **drawn, **read)  # type: ignore[arg-type]

    def equivalent(self, data: KernelData) -> LowRankPlusIdentity:
        """Return the high-dimensional equivalent of the kernel."""
        return equivalent(self.kernel, data.x, data.classes, kind=self.kind, trained=self.trained)

    def explicit(self, tau0: float, *, matched: bool) -> ExplicitKernel:
        """Return the explicit network with the kernel, or one as deep with the same activation."""
        found = match_explicit(self.kernel, tau0, kind=self.kind, trained=self.trained)
        plain = [ACTIVATIONS[self.activation]] * len(found.layers)
        return found if matched else ExplicitKernel(plain)


def check(config: KernelSpectrumConfig) -> None:
    """Raise DataError unless the data are here, UsageError unless there is such a kernel."""
    for name in config.data:
        data = config.draw(name, config.seeds[0])
        try:
            config.explicit(data.tau0, matched=True)
            config.equivalent(data)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error


@lru_cache(maxsize=8)
def exact_of(
    config: KernelSpectrumConfig, name: str, seed: int
) -> tuple[KernelData, spectra.Spectrum, float]:
    """Return a draw, its exact spectrum and the seconds that took, kept for the next jobs."""
    data = config.draw(name, seed)
    start = time.perf_counter()
    exact = spectra.spectrum_of(config.kernel, data.x, config.kind, config.trained)
    return data, exact, time.perf_counter() - start


def run(config: KernelSpectrumConfig, job: Job) -> Iterator[Row]:
    """Compute one spectrum on every data set, and compare it with the exact one."""
    for name in config.data:
        for row in _on_data(config, job, name):
            yield {"data": name, **row}
    matching = None if job.arm == "exact" else "the exact kernel"
    yield {"kind": "summary", "label": SPECTRA[job.arm], "matching": matching}


def _found(
    config: KernelSpectrumConfig, arm: str, data: KernelData, leading: int
) -> tuple[Network | None, spectra.Spectrum]:
    """Return the spectrum of an arm, and the network that has it, if it is one of a network."""
    if arm == "equivalent":
        return None, spectra.spectrum_of_equivalent(config.equivalent(data), leading)
    network = config.explicit(data.tau0, matched=arm == "matched")
    return network, spectra.spectrum_of(network, data.x, config.kind, config.trained)


def _on_data(config: KernelSpectrumConfig, job: Job, name: str) -> Iterator[Row]:
    data, exact, taken = exact_of(config, name, job.seed)
    # One eigenvalue a class, and one for the norms of the samples; fewer where samples repeat.
    leading = min(data.number_of_classes + 1, config.equivalent(data).rank)
    network: Network | None = config.kernel
    found = exact
    if job.arm != "exact":
        start = time.perf_counter()
        network, found = _found(config, job.arm, data, leading)
        taken = time.perf_counter() - start
    for rank in spectra.geometric_ranks(len(found.values)):
        yield {"kind": "eigenvalue", "rank": rank, "eigenvalue": float(found.values[rank - 1])}
    # The bins are those of the exact spectrum, the same for all.
    for centre, share in spectra.log_histogram(found.values, float(exact.values[0])):
        yield {"kind": "bin", "eigenvalue": centre, "share": share}
    aligned = spectra.alignments(found, exact, leading)
    for i, alignment in enumerate(aligned):
        yield {
            "kind": "leading",
            "rank": i + 1,
            "which": f"{name} {i + 1}",
            "eigenvalue": float(found.values[i]),
            "alignment": alignment,
        }
    gaps = (found.values / exact.values - 1).abs()
    row = {
        "kind": "spectrum",
        "error": spectra.relative_error(found.matrix, exact.matrix),
        "leading_error": float(gaps[:leading].max()),
        "bulk_error": float(gaps.nanmedian()),
        "alignment": min(aligned),
        "seconds": taken,
    }
    if isinstance(network, ExplicitKernel):
        row["layers"] = ", ".join(map(repr, network.layers))
        row["step_sizes"] = network.step_sizes and list(network.step_sizes)
    if network is not None and config.width:
        row |= cost(network, data, config.width, job.seed)
    yield row


def cost(kernel: Network, data: KernelData, width: int, seed: int) -> Row:
    """Return what a network of finite width costs to evaluate on all samples.

    Nothing, if it is a DEQ that is not at its own equilibrium.
    """
    x, generator = data.x.float(), torch.Generator().manual_seed(seed)
    network = kernel.network(x.shape[1], width, tau0=data.tau0, generator=generator)
    if isinstance(network, ImplicitNetwork):
        network.on_failure = "raise"
    with torch.no_grad():
        try:
            operations, _ = flops(lambda: network(x))
        except ConvergenceError:
            return {}
        (taken,) = seconds([lambda: network(x)], repeats=5)
    return {"flops": operations, "inference_seconds": taken}


EXPERIMENT = Experiment(
    name="kernel-spectrum",
    title="Spectrum of a DEQ's kernel, exact and equivalent",
    claim="In high dimension the kernel of a DEQ has the spectrum, spikes and leading eigenvectors "
    "that four nonlinear equations give, on Gaussian mixtures and on real images; a shallow "
    "explicit network can be made to have the same kernel.",
    source="Ling et al. (2024, arXiv:2402.02697), the figures of spectra.",
    origin="published",
    presets={
        "smoke": KernelSpectrumConfig(
            seeds=(0,), data=("mixture", "digits"), dimension=60, samples=60, width=64
        ),
        "quick": KernelSpectrumConfig(),
        "full": KernelSpectrumConfig(
            seeds=tuple(range(8)),
            data=("mixture", "mnist", "fashion_mnist", "cifar10"),
            samples=2000,
            dimension=2500,
            width=4096,
        ),
    },
    page=PAGE,
    check=check,
    plan=cross_by_seed(SPECTRA),
    run=run,
    judge=lambda config, rows: verdict(
        rows,
        data=config.data,
        subject=f"the equivalent {config.kind} kernel of a {config.activation} DEQ",
        num_seeds=len(config.seeds),
        width=config.width,
    ),
)
"""The published settings are those of "quick": MNIST, digits 6 and 8, n = 400."""
