"""Names that help and completion tell without importing torch, which takes seconds.

A test holds them to what there is.
"""

from collections.abc import Callable, Iterable

RUN = (
    "images",
    "memory",
    "constructions",
    "sawtooth-k1",
    "sawtooth-k3",
    "sawtooth-k5",
    "sawtooth-k10",
    "sawtooth-k15",
    "sawtooth-table",
    "steep-d10",
    "steep-d20",
    "steep-weights",
    "open-sawtooth",
    "open-steep",
    "diagonal-flow",
    "feature-density",
    "gotu-f1",
    "gotu-f2",
    "gotu-f3",
    "gotu-f4",
    "gotu-frozen",
    "frequencies",
    "saliency",
    "kernel-error",
    "kernel-spectrum",
    "kernel-montecarlo",
    "matched-networks",
    "stabilisers",
    "sawtooth-loops",
)
"""Experiments, which `deqlab run` takes."""

GROUPS = ("claims",)
"""Groups of them."""

TRAIN = (
    "conv-fashion",
    "conv-cifar",
    "multiscale-fashion",
    "monotone-mnist",
    "monotone-conv-mnist",
    "language",
    "hybrid-language",
    "sudoku",
    "prefix-sums",
    "mazes",
    "cora",
    "citeseer",
    "chains",
    "deblur",
    "inpainting",
    "picture",
    "darcy",
    "lqr",
    "box-mpc",
    "observer",
    "pendulum",
)
"""Recipes, which `deqlab train` takes."""

PRESETS = ("smoke", "quick", "full")
"""Presets that all have."""

MORE_PRESETS = {
    "mnist": ("images",),
    "deep": ("open-sawtooth", "language"),
    "cifar10": ("matched-networks",),
    "stress": ("conv-fashion",),
    "blocks": ("language",),
    "modes": ("language",),
    "gradients": ("sudoku",),
    "five": ("chains",),
}
"""Those that some have, and who."""

BACKENDS = ("loky", "dask", "ray")


def completed(*names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes the beginning of one of these names."""
    known = [name for some in names for name in some]
    return lambda incomplete: [name for name in known if name.startswith(incomplete)]
