"""All recipes, by name."""

from deqlab.recipes import conv, monotone, multiscale
from deqlab.recipes.classifying import Recipe

_ALL: tuple[Recipe, ...] = (*conv.RECIPES, *multiscale.RECIPES, *monotone.RECIPES)

RECIPES = {recipe.name: recipe for recipe in _ALL}
