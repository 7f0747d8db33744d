"""Published claims, and questions of ours, as commands: one file each.

`base` says what an experiment is, `config` and `page` what it is set to and shows, `runner` runs
its jobs, `comparing` has how arms compete at equal cost and what a verdict rests on; the
experiments stand beside them, or in a folder for each subject.
"""

from typing import Any

from deqlab.experiments import images, memory
from deqlab.experiments.base import Experiment, at
from deqlab.experiments.bias import diagonal_flow, feature_density, frequencies, gotu
from deqlab.experiments.expressivity import constructions, sawtooth, steep, steep_weights
from deqlab.experiments.expressivity.looped import sawtooth_loops
from deqlab.experiments.expressivity.open import open_sawtooth, open_steep
from deqlab.experiments.kernels import kernel_error, kernel_montecarlo, kernel_spectrum
from deqlab.experiments.matched import matched_networks
from deqlab.experiments.saliency import saliency
from deqlab.experiments.stabilisers import stabilisers
from deqlab.own.registry import Registry

SEPARATION: tuple[Experiment[Any], ...] = (
    constructions.EXPERIMENT,
    *sawtooth.EXPERIMENTS,
    *steep.EXPERIMENTS,
    steep_weights.EXPERIMENT,
    open_sawtooth.EXPERIMENT,
    open_steep.EXPERIMENT,
    diagonal_flow.EXPERIMENT,
    feature_density.EXPERIMENT,
    *gotu.EXPERIMENTS,
    frequencies.EXPERIMENT,
    saliency.EXPERIMENT,
)
"""The claims of Wu et al. (2024), in the order of the paper, and what they rest on."""

_ALL: tuple[Experiment[Any], ...] = (
    images.EXPERIMENT,
    memory.EXPERIMENT,
    *SEPARATION,
    kernel_error.EXPERIMENT,
    kernel_spectrum.EXPERIMENT,
    kernel_montecarlo.EXPERIMENT,
    matched_networks.EXPERIMENT,
    stabilisers.EXPERIMENT,
    sawtooth_loops.EXPERIMENT,
)

EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}
"""Those that deqlab brings, by name."""

GROUPS = {"claims": tuple(experiment.name for experiment in SEPARATION)}
"""Several experiments under one name."""

REGISTRY: Registry[Experiment[Any]] = Registry(
    Experiment, EXPERIMENTS, group="deqlab.experiments", what="experiment", placed=at
)
"""These, those that packages register, and those of modules."""

__all__ = ["EXPERIMENTS", "GROUPS", "REGISTRY", "Experiment"]
