"""The spectrum of J at the start, predicted and drawn.

    python -m benchmarks.initial_spectrum

Draws layers of three laws and three activations over a grid of gains, five seeds each; prints the
gain at which each leaves the stable region; writes docs/figures/initial-spectrum.svg, and the rows
to results/initial-spectrum_<machine>_<date>.json.
"""

import math
from collections.abc import Iterator
from statistics import median
from typing import Any, get_args

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks import figures, results
from deqlab.activations import Activation, Identity, ReLU, Tanh
from deqlab.stability import Drawn, critical_gain, drawn_spectrum, initial_spectrum
from deqlab.stability.initialisation.laws import Law

WIDTH = 256
LAWS: tuple[Law, ...] = get_args(Law)
ACTIVATIONS: dict[str, Activation] = {"identity": Identity(), "relu": ReLU(), "tanh": Tanh()}
SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""Gains, as parts of the critical one."""


def drawn(law: Law, phi: Activation, gain: float, seed: int) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    return drawn_spectrum(law, phi, WIDTH, gain=gain, generator=generator)


def rows(seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what is predicted and what was drawn for each law, activation and gain."""
    for name, phi in ACTIVATIONS.items():
        for law in LAWS:
            critical = critical_gain(law, phi)
            for share in SHARES:
                gain = share * critical
                found = [drawn(law, phi, gain, seed) for seed in range(seeds)]
                radii = [one.radius for one in found]
                yield {
                    "activation": name,
                    "law": law,
                    "critical_gain": critical,
                    "gain": gain,
                    "predicted": initial_spectrum(law, phi, gain=gain).radius,
                    "median": median(radii),
                    "least": min(radii),
                    "largest": max(radii),
                    "response": median(one.response for one in found),
                    "converged": sum(one.converged for one in found) / seeds,
                }


def draw_eigenvalues(axis: Axes, law: Law, name: str, gain: float) -> None:
    """Draw the eigenvalues of one layer, and where they are predicted to end."""
    found = drawn(law, ACTIVATIONS[name], gain, seed=0).eigenvalues
    expected = initial_spectrum(law, ACTIVATIONS[name], gain=gain)
    axis.plot(found.real, found.imag, ".", markersize=2.5, color="C0")
    circle = torch.linspace(0, 2 * math.pi, 200)
    axis.plot(circle.cos(), circle.sin(), color="0.7", linewidth=0.8)
    if law == "symmetric":
        for edge in (-expected.radius, expected.radius):
            axis.axvline(edge, color="C1", linewidth=1)
    else:
        for radius in {expected.radius, expected.inner} - {0.0}:
            axis.plot(radius * circle.cos(), radius * circle.sin(), color="C1", linewidth=1)
    axis.set(
        aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=(-1, 0, 1), yticks=(-1, 0, 1)
    )
    axis.set_title(f"{name}, {law}, gain {gain:.2f}", fontsize=9)


def picture(found: list[dict[str, Any]]) -> None:
    """Draw spectra over their edges, and radii against gains."""
    figure, axes = plt.subplots(3, 3, figsize=(8.4, 8.6), layout="constrained")
    for row, name in enumerate(("identity", "relu")):
        for axis, law in zip(axes[row], LAWS, strict=True):
            draw_eigenvalues(axis, law, name, 0.8 * critical_gain(law, ACTIVATIONS[name]))
    for axis, law in zip(axes[2], LAWS, strict=True):
        for i, name in enumerate(ACTIVATIONS):
            some = [r for r in found if (r["law"], r["activation"]) == (law, name)]
            gains = [r["gain"] for r in some]
            axis.plot(gains, [r["predicted"] for r in some], color=f"C{i}", label=name)
            for r in some:
                axis.vlines(r["gain"], r["least"], r["largest"], color=f"C{i}", linewidth=2)
        axis.axhline(1, color="0.7", linewidth=0.8)
        axis.set(xlabel="gain", ylabel="spectral radius", xlim=(0, 2), ylim=(0, 1.2))
        axis.set_title(law, fontsize=9)
    axes[2][0].legend(frameon=False, fontsize=8)
    figures.save(figure, "initial-spectrum.svg")


def main() -> None:
    chosen = results.parser(__doc__, repeats=5, workloads=False).parse_args()
    torch.set_num_threads(chosen.threads)
    found = list(rows(chosen.repeats))
    columns = {key: ".3f" for key in found[0]} | {"activation": "", "law": ""}
    results.show(f"Spectral radius at the start, width {WIDTH}", columns, found)
    picture(found)
    environment = results.header("python -m benchmarks.initial_spectrum", chosen)
    results.save("initial-spectrum", chosen, {"environment": environment, "rows": found})


if __name__ == "__main__":
    main()
