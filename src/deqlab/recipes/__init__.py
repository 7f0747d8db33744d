"""Networks of the field, each as one command that trains it to the end: `deqlab train NAME`.

A recipe is an experiment (see `experiments.base`) whose arm "deq" must end at its equilibrium.
"""

from typing import Any

from deqlab.experiments.base import Experiment

RECIPES: dict[str, Experiment[Any]] = {}

__all__ = ["RECIPES"]
