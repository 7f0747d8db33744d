"""Published claims, and questions of ours, as commands: one file each.

`base` says what an experiment is, `running` how it becomes a run on disk, `comparing` how arms
compete at equal cost; the experiments stand beside them, or in a folder for each subject.
"""

from typing import Any

from deqlab.experiments import images, memory
from deqlab.experiments.base import Experiment
from deqlab.experiments.bias import features, flow
from deqlab.experiments.expressivity import constructions, sawtooth, steep
from deqlab.experiments.kernels import error, montecarlo, spectrum
from deqlab.experiments.matched import networks

_ALL: tuple[Experiment[Any], ...] = (
    images.EXPERIMENT,
    memory.EXPERIMENT,
    constructions.EXPERIMENT,
    *sawtooth.EXPERIMENTS,
    *steep.EXPERIMENTS,
    flow.EXPERIMENT,
    features.EXPERIMENT,
    error.EXPERIMENT,
    spectrum.EXPERIMENT,
    montecarlo.EXPERIMENT,
    networks.EXPERIMENT,
)

EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}

__all__ = ["EXPERIMENTS", "Experiment"]
