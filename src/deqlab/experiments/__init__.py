"""Published claims, and questions of ours, as commands: one file each.

`base` says what an experiment is, `running` how it becomes a run on disk, `comparing` how arms
compete at equal cost; the experiments stand beside them, or in a folder for each subject.
"""

from typing import Any

from deqlab.experiments import images, memory
from deqlab.experiments.base import Experiment
from deqlab.experiments.bias import features, flow, frequencies, gotu
from deqlab.experiments.expressivity import constructions, sawtooth, steep, steep_weights
from deqlab.experiments.expressivity.open import sawtooth as open_sawtooth
from deqlab.experiments.expressivity.open import steep as open_steep
from deqlab.experiments.kernels import error, montecarlo, spectrum
from deqlab.experiments.matched import networks
from deqlab.experiments.saliency import grad_cam

SEPARATION: tuple[Experiment[Any], ...] = (
    constructions.EXPERIMENT,
    *sawtooth.EXPERIMENTS,
    *steep.EXPERIMENTS,
    steep_weights.EXPERIMENT,
    open_sawtooth.EXPERIMENT,
    open_steep.EXPERIMENT,
    flow.EXPERIMENT,
    features.EXPERIMENT,
    *gotu.EXPERIMENTS,
    frequencies.EXPERIMENT,
    grad_cam.EXPERIMENT,
)
"""The claims of Wu et al. (2024), in the order of the paper, and what they rest on."""

_ALL: tuple[Experiment[Any], ...] = (
    images.EXPERIMENT,
    memory.EXPERIMENT,
    *SEPARATION,
    error.EXPERIMENT,
    spectrum.EXPERIMENT,
    montecarlo.EXPERIMENT,
    networks.EXPERIMENT,
)

EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}

GROUPS = {"claims": tuple(experiment.name for experiment in SEPARATION)}
"""Several experiments under one name."""

__all__ = ["EXPERIMENTS", "GROUPS", "Experiment"]
