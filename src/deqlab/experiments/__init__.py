"""Published claims, and questions of ours, as commands: one file each."""

from typing import Any

from deqlab.experiments import (
    images,
    kernel_error,
    kernel_montecarlo,
    kernel_spectrum,
    matched_networks,
    memory,
    sawtooth,
)
from deqlab.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment[Any]] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        images,
        sawtooth,
        memory,
        kernel_error,
        kernel_spectrum,
        kernel_montecarlo,
        matched_networks,
    )
}

__all__ = ["EXPERIMENTS", "Experiment"]
