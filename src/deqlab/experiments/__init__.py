"""Published claims, and questions of ours, as commands: one file each.

`base` says what an experiment is, `running` how it becomes a run on disk, `comparing` how arms
compete at equal cost; the experiments stand beside them, or in a folder for each subject.
"""

from typing import Any

from deqlab.experiments import images, memory, sawtooth
from deqlab.experiments.base import Experiment
from deqlab.experiments.kernels import error, montecarlo, spectrum
from deqlab.experiments.matched import networks

EXPERIMENTS: dict[str, Experiment[Any]] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (images, sawtooth, memory, error, spectrum, montecarlo, networks)
}

__all__ = ["EXPERIMENTS", "Experiment"]
