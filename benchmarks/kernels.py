"""Kernels: the spectrum of an equivalent against a dense one, exact kernels, and neural-tangents.

    python -m benchmarks.kernels [--threads 2]

Three tables. All eigenvalues of the equivalent CK of a ReLU DEQ on n samples in 784 dimensions,
from the samples to the last eigenvalue, beside dense eigenvalues of the same matrix as far as
these go; the cost is linear in n. The exact CK and NTK of DEQs. The CK and NTK of a two-layer ReLU
network beside neural-tangents, where that is installed (it needs jax 0.4). And one picture for the
docs: seconds against n.
"""

import resource
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from benchmarks import figures, results
from benchmarks.timing import interleaved, median_ratio
from deqlab.activations import ELU, Activation, ReLU, Tanh
from deqlab.kernels import ExplicitKernel, ImplicitKernel, equivalent

DIMENSION, CLASSES = 784, 10
SIZES = (1000, 2000, 4000, 8000, 15000, 30000, 60000)
DENSE = 4000
"""The largest n at which dense eigenvalues are taken."""

EXACT: dict[str, tuple[Activation, int]] = {
    "ReLU": (ReLU(), 5000),
    "tanh": (Tanh(), 5000),
    "ELU": (ELU(), 1000),
}
NEURAL_TANGENTS = 2000
"""n at which neural-tangents is compared."""


def samples(n: int) -> tuple[Tensor, Tensor]:
    """Return Gaussian data of mean norm 1 with slightly different classes, and the labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % CLASSES
    x = torch.randn(n, DIMENSION, generator=generator, dtype=torch.float64)
    means = torch.randn(CLASSES, DIMENSION, generator=generator, dtype=torch.float64)
    return (x + 0.1 * means[labels]) / DIMENSION**0.5, labels


def spectra(repeats: int) -> Iterator[dict[str, Any]]:
    """Yield a row per size."""
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    for n in SIZES:
        x, labels = samples(n)

        def low_rank(x: Tensor = x, labels: Tensor = labels) -> Tensor:
            return equivalent(kernel, x, labels).eigvalsh()

        def dense(x: Tensor = x, labels: Tensor = labels) -> Tensor:
            return torch.linalg.eigvalsh(equivalent(kernel, x, labels).dense())

        runs: dict[str, Callable[[], object]] = {"low rank": low_rank}
        if n <= DENSE:
            runs["dense"] = dense
        times = interleaved(runs, repeats)
        row: dict[str, Any] = {
            "n": n,
            "seconds": median(times["low rank"]),
            "microseconds_per_sample": 1e6 * median(times["low rank"]) / n,
        }
        if n <= DENSE:
            gap = (low_rank() - dense()).abs().max() / dense().abs().max()
            row["dense_seconds"] = median(times["dense"])
            row["dense/low_rank"] = median_ratio(times["dense"], times["low rank"])
            row["relative_difference"] = float(gap)
        # Of the whole process, the samples and torch itself included.
        row["peak_GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        yield row


def exact() -> Iterator[dict[str, Any]]:
    """Yield a row per activation: one call each, for they are long."""
    for name, (phi, n) in EXACT.items():
        x, _ = samples(n)
        kernel = ImplicitKernel(activation=phi, sigma_a2=0.2)
        found: dict[str, Tensor] = {}
        times = {}
        for kind in ("conjugate", "tangent"):
            start = time.perf_counter()
            options = {"trained": "all"} if kind == "tangent" else {}
            found[kind] = getattr(kernel, kind)(x, **options)
            times[kind] = time.perf_counter() - start
        # The fixed point, put into its own equation on a corner of the matrix.
        phi_centred = kernel.centred_activation(float((x * x).sum(dim=1).mean().sqrt()))
        g = found["conjugate"]
        s = 0.2 * g[:50, :50] + 0.8 * x[:50] @ x[:50].T
        a = s.diagonal()
        residual = (phi_centred.dual(a[:, None], a[None], s) - g[:50, :50]).abs().max()
        yield {
            "name": name,
            "n": n,
            "conjugate_seconds": times["conjugate"],
            "tangent_seconds": times["tangent"],
            "true_residual": float(residual),
        }


def against_neural_tangents(repeats: int) -> Iterator[dict[str, Any]]:
    """Yield a row per kind of kernel, of two ReLU layers that are not centred."""
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        from neural_tangents import stax
    except (ImportError, AttributeError) as error:
        yield {"name": "neural-tangents", "failure": results.sentence(error)}
        return
    relu = (stax.Dense(1, W_std=1.0, b_std=None), stax.Relu())
    theirs = jax.jit(stax.serial(*relu, *relu, stax.Dense(1))[2], static_argnums=(2,))
    ours = ExplicitKernel([ReLU(), ReLU()], centred=False)
    x, _ = samples(NEURAL_TANGENTS)
    scaled = x.numpy() * DIMENSION**0.5  # it divides by the width of each layer
    for kind, name in (("conjugate", "nngp"), ("tangent", "ntk")):

        def peer(name: str = name) -> Any:  # noqa: ANN401
            return jax.block_until_ready(theirs(scaled, None, name))

        def own(kind: str = kind) -> Tensor:
            kernel: Tensor = getattr(ours, kind)(x)
            return kernel

        times = interleaved({"ours": own, "theirs": peer}, repeats)
        yield {
            "name": kind,
            "n": NEURAL_TANGENTS,
            "seconds": median(times["ours"]),
            "neural_tangents_seconds": median(times["theirs"]),
            "neural_tangents/this": median_ratio(times["theirs"], times["ours"]),
            "largest_difference": float(np.abs(own().numpy() - np.asarray(peer())).max()),
        }


def picture(rows: list[dict[str, Any]]) -> None:
    """Draw seconds against n into docs/figures."""
    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for key, label in (("seconds", "low rank plus identity"), ("dense_seconds", "dense")):
        points = [(row["n"], row[key]) for row in rows if key in row]
        axes.loglog(*zip(*points, strict=True), marker="o", label=label)
    n = np.array([SIZES[0], SIZES[-1]])
    slope = rows[-1]["seconds"] / rows[-1]["n"]
    axes.loglog(n, slope * n, color="grey", linestyle=":", label="proportional to n")
    axes.set(xlabel="samples", ylabel="seconds to all eigenvalues", title="784 dimensions")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figures.save(figure, "spectra.svg")


def main() -> None:
    """Measure, print and save."""
    chosen = results.parser(__doc__, repeats=3, threads=2, workloads=False).parse_args()
    torch.set_num_threads(chosen.threads)
    content: dict[str, Any] = {
        "environment": results.header("python -m benchmarks.kernels", chosen)
        | {"neural_tangents": results.installed("neural-tangents")},
    }
    tables = {
        "spectra": ("All eigenvalues of the equivalent, p = 784", lambda: spectra(chosen.repeats)),
        "exact": ("Exact kernels of a DEQ, p = 784", exact),
        "explicit": (
            "A two-layer ReLU network, p = 784",
            lambda: against_neural_tangents(chosen.repeats),
        ),
    }
    for key, (title, rows) in tables.items():
        content[key] = list(rows())
        columns = {name: ".3g" for row in content[key] for name in row if name != "failure"}
        results.show(title, columns | ({"name": ""} if "name" in columns else {}), content[key])
    picture(content["spectra"])
    results.save("kernels", chosen, content)


if __name__ == "__main__":
    main()
