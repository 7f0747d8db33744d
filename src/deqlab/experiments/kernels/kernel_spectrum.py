"""The spectrum of a DEQ's kernel: exact, in high dimension, and of explicit networks.

Expected: on Gaussian mixtures, and on images, the equivalent kernel has the histogram of
eigenvalues of the exact one, the isolated ones (spikes) included, and their eigenvectors; so has
the matched explicit network, and the plain one (the activation itself, as many layers) has not.
Source: Ling et al. (2024, arXiv:2402.02697), the figures of spectra on a Gaussian mixture and on
MNIST, digits 6 and 8, n = 400. Fashion-MNIST, the features of CIFAR-10 (of 640 images of two
classes) and the alignments are deqlab's.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from deqlab.activations import Activation
from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.config import (
    Config,
    UsageError,
    check_at_least,
    check_at_most,
    check_choice,
    require,
)
from deqlab.experiments.kernels.data import KernelData, load
from deqlab.experiments.kernels.kernel_error import ACTIVATIONS, relative_error
from deqlab.experiments.kernels.kernel_spectrum_report import verdict
from deqlab.experiments.kernels.page import PAGE
from deqlab.experiments.kernels.spectrum_rows import cost, curves
from deqlab.kernels import (
    ExplicitKernel,
    ImplicitKernel,
    LowRankPlusIdentity,
    equivalent,
    match_explicit,
)
from deqlab.kernels.kinds import Kind, Trained

SPECTRA = {
    "exact": "DEQ, exact",
    "equivalent": "DEQ, high-dimensional equivalent",
    "matched": "matched explicit network",
    "plain": "plain explicit network",
}


@dataclass(frozen=True, kw_only=True)
class KernelSpectrumConfig(Config):
    """The fields of the experiment.

    Attributes:
        seeds: One draw of the samples for each.
        data: "mixture", image sets, or files (.csv, .tsv, .npy, .npz); one panel each.
        samples: n, of image sets and files; a mixture has 0.8 p.
        classes: Of image sets.
        dimension: p, of the mixture.
        activation: Of `kernel_error.ACTIVATIONS`.
        sigma_a2: Variance of the recurrent weights, in [0, 1).
        kind: "conjugate" or "tangent".
        trained: Which weights a tangent kernel belongs to: "readout+recurrent" or "all".
        width: Of the finite networks that are timed; 0 leaves them out.
        checksums: Of files: a run goes on only with the data it began with.
        label: The column or array of files that holds the labels; see `read_samples`.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
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


def kernel_of(config: KernelSpectrumConfig) -> ImplicitKernel:
    """Return the kernel of the DEQ."""
    return ImplicitKernel(activation=phi_of(config), sigma_a2=config.sigma_a2)


def phi_of(config: KernelSpectrumConfig) -> Activation:
    """Return the activation."""
    return ACTIVATIONS[config.activation]


def check(config: KernelSpectrumConfig) -> None:
    """Raise unless the data are here, and the DEQ has a kernel and an explicit network with it.

    Raises:
        DataError: Data are absent or damaged.
        UsageError: There is no such kernel or network.
    """
    for name in config.data:
        data = data_of(config, name, config.seeds[0])
        try:
            explicit_of(config, data.tau0, matched=True)
            equivalent_of(config, data)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error


def plan(config: KernelSpectrumConfig, rows: Sequence[Row]) -> list[Job]:
    """Return one job per spectrum and seed; those of one draw follow each other."""
    return [Job(arm=spectrum, seed=seed) for seed in config.seeds for spectrum in SPECTRA]


def data_of(config: KernelSpectrumConfig, name: str, seed: int) -> KernelData:
    """Return one draw of the samples."""
    return load(
        name,
        samples=config.samples,
        classes=config.classes,
        dimension=config.dimension,
        seed=seed,
        label=config.label,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Exact:
    """The exact kernel of a DEQ on one draw, with its spectrum in descending order."""

    data: KernelData
    matrix: Tensor
    values: Tensor
    vectors: Tensor
    seconds: float

    @property
    def leading(self) -> int:
        """How many eigenvalues are looked at one by one: one a class, and one for the norms."""
        return min(self.data.number_of_classes + 1, len(self.values))


@lru_cache(maxsize=8)
def exact_of(config: KernelSpectrumConfig, name: str, seed: int) -> Exact:
    """Return the exact kernel and its spectrum; the next jobs compare theirs with it."""
    data = data_of(config, name, seed)
    start = time.perf_counter()
    matrix = matrix_of(kernel_of(config), data, config)
    values, vectors = torch.linalg.eigh(matrix)
    return Exact(
        data=data,
        matrix=matrix,
        values=values.flip(0),
        vectors=vectors.flip(1),
        seconds=time.perf_counter() - start,
    )


def matrix_of(
    kernel: ImplicitKernel | ExplicitKernel, data: KernelData, config: KernelSpectrumConfig
) -> Tensor:
    """Return the exact kernel of the kind that is asked for."""
    if config.kind == "conjugate":
        return kernel.conjugate(data.x)
    if isinstance(kernel, ExplicitKernel):
        return kernel.tangent(data.x)
    return kernel.tangent(data.x, trained=config.trained)


def equivalent_of(config: KernelSpectrumConfig, data: KernelData) -> LowRankPlusIdentity:
    """Return the high-dimensional equivalent."""
    return equivalent(
        kernel_of(config), data.x, data.classes, kind=config.kind, trained=config.trained
    )


def explicit_of(config: KernelSpectrumConfig, tau0: float, *, matched: bool) -> ExplicitKernel:
    """Return the explicit network with the kernel, or one as deep with the same activation."""
    found = match_explicit(kernel_of(config), tau0, kind=config.kind, trained=config.trained)
    return found if matched else ExplicitKernel([phi_of(config)] * len(found.layers))


def run(config: KernelSpectrumConfig, job: Job) -> Iterator[Row]:
    """Compute one spectrum on every data set, and compare it with the exact one."""
    for name in config.data:
        yield from _on_data(config, job, name)
    matching = None if job.arm == "exact" else "the exact kernel"
    yield {"kind": "summary", "label": SPECTRA[job.arm], "matching": matching}


def _on_data(config: KernelSpectrumConfig, job: Job, name: str) -> Iterator[Row]:
    exact = exact_of(config, name, job.seed)
    network: ImplicitKernel | ExplicitKernel | None = None
    start = time.perf_counter()
    if job.arm == "exact":
        network = kernel_of(config)
        matrix, values, vectors = exact.matrix, exact.values, exact.vectors
    elif job.arm == "equivalent":
        found = equivalent_of(config, exact.data)
        values = found.eigvalsh().flip(0)
        vectors = found.leading(exact.leading)[1]
        matrix = found.dense()
    else:
        network = explicit_of(config, exact.data.tau0, matched=job.arm == "matched")
        matrix = matrix_of(network, exact.data, config)
        values, vectors = (part.flip(-1) for part in torch.linalg.eigh(matrix))
    taken = exact.seconds if job.arm == "exact" else time.perf_counter() - start

    for row in curves(values, float(exact.values[0])):
        yield {"data": name, **row}
    alignments = []
    for i in range(exact.leading):
        # Of eigenvectors whose eigenvalues are close, the space is determined, not each of them.
        alignments.append(float((exact.vectors[:, : exact.leading].T @ vectors[:, i]).norm()))
        yield {
            "kind": "leading",
            "data": name,
            "rank": i + 1,
            "which": f"{name} {i + 1}",
            "eigenvalue": float(values[i]),
            "alignment": alignments[-1],
        }
    leading = values[: exact.leading] / exact.values[: exact.leading] - 1
    row = {
        "kind": "spectrum",
        "data": name,
        "error": relative_error(matrix, exact.matrix),
        "leading_error": float(leading.abs().max()),
        "bulk_error": float((values / exact.values - 1).abs().nanmedian()),
        "alignment": min(alignments),
        "seconds": taken,
    }
    if isinstance(network, ExplicitKernel):
        row["layers"] = ", ".join(map(repr, network.layers))
        row["step_sizes"] = network.step_sizes and list(network.step_sizes)
    if network is not None and config.width:
        row |= cost(network, exact.data, config.width, job.seed)
    yield row


def judge(config: KernelSpectrumConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether the equivalent has the exact spectrum; see `spectrum_verdict`."""
    return verdict(
        rows,
        data=config.data,
        subject=f"the equivalent {config.kind} kernel of a {config.activation} DEQ",
        num_seeds=len(config.seeds),
        width=config.width,
    )


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
    plan=plan,
    run=run,
    judge=judge,
)
"""The published settings are those of "quick": MNIST, digits 6 and 8, n = 400."""
