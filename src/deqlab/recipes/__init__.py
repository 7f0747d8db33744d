"""Networks of the field, each as one command that trains it to the end: `deqlab train NAME`.

A recipe is an experiment (see `experiments.base`) whose arm "deq" must end at its equilibrium.
"""

from typing import Any

from deqlab.experiments.base import Experiment
from deqlab.recipes import conv, monotone, multiscale

_ALL: tuple[Experiment[Any], ...] = (
    *conv.RECIPES,
    *multiscale.RECIPES,
    *monotone.RECIPES,
)

RECIPES = {recipe.name: recipe for recipe in _ALL}

__all__ = ["RECIPES"]
