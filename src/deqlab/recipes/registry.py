"""All recipes, by name."""

from deqlab.experiments.base import at
from deqlab.own.registry import Registry
from deqlab.recipes.base import Recipe
from deqlab.recipes.control import box_mpc, lqr, observer, pendulum
from deqlab.recipes.graphs import chains, citations
from deqlab.recipes.images import conv, monotone, multiscale
from deqlab.recipes.inverse import reconstruction
from deqlab.recipes.language import recipes as language
from deqlab.recipes.operators import darcy
from deqlab.recipes.picture import picture
from deqlab.recipes.reasoning import positions, sudoku

_ALL: tuple[Recipe, ...] = (
    *conv.RECIPES,
    *multiscale.RECIPES,
    *monotone.RECIPES,
    *language.RECIPES,
    *sudoku.RECIPES,
    *positions.RECIPES,
    *citations.RECIPES,
    *chains.RECIPES,
    *reconstruction.RECIPES,
    *picture.RECIPES,
    *darcy.RECIPES,
    *lqr.RECIPES,
    *box_mpc.RECIPES,
    *observer.RECIPES,
    *pendulum.RECIPES,
)

RECIPES = {recipe.name: recipe for recipe in _ALL}

REGISTRY: Registry[Recipe] = Registry(
    Recipe, RECIPES, group="deqlab.recipes", what="recipe", placed=at
)
"""These, those that packages register, and those of modules."""
