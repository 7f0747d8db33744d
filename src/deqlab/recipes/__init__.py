"""Networks of the field, each as one command that trains it to the end: `deqlab train NAME`.

A recipe is an experiment (see `experiments.base`) whose arm "deq" must end at its equilibrium. Of
some there are weights: `trained(NAME)`.
"""

from deqlab.recipes.registry import RECIPES
from deqlab.recipes.trained import Card, card, trained, trained_names

__all__ = ["RECIPES", "Card", "card", "trained", "trained_names"]
