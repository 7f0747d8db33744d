"""Networks that are trained already, by the name of their recipe, each with its card."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deqlab.experiments.base import Row
from deqlab.own.target import OwnCodeError, is_target, named
from deqlab.recipes.base import Recipe, with_own
from deqlab.recipes.registry import RECIPES
from deqlab.recipes.weights import Weights, read_weights
from deqlab.training.checkpoints.tree import CheckpointError
from deqlab.training.equilibrium import MAX_STEPS
from deqlab.training.layers import layers_of
from deqlab.training.solver_changes import SolverChanges

BUNDLED = Path(__file__).parent / "bundled"
"""A file for each recipe with a run under `benchmarks/results/models`: of the seed whose test
accuracy is the median, and not of the best."""


OWN_FIELDS = ("cell", "model", "dataset", "text")
"""Fields of configs that may name code of the user's."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a trained network is, and what it does.

    Attributes:
        recipe: The name of its recipe.
        command: What trained it, and networks of other seeds.
        seed: Its seed.
        dataset: What it was trained and tested on.
        test_accuracy: The share of the test samples that it answers rightly; of a language model,
            of tokens. None where networks are compared by another number.
        converged: The share of the test samples at their equilibrium (rtol 1e-2, 40 steps).
        evaluations: Evaluations of f for it, the mean over batches.
        parameters: Numbers that were trained.
        proved: What is proved of each of its DEQ layers, for every input.
    """

    recipe: str
    command: str
    seed: int
    dataset: str
    test_accuracy: float | None
    converged: float
    evaluations: float
    parameters: int
    proved: tuple[str, ...]


def trained(name: str | Path, *, own: Collection[str] = ()) -> nn.Module:
    """Return a network that is trained already, in eval mode.

    Its DEQ layers warn where they miss their equilibrium, and take as many steps as in the test.

    Args:
        name: A recipe that deqlab brings weights of (see `trained_names`), for those; or the file
            `results/deq-SEED/weights.safetensors` of a run of your own.
        own: MODULE:NAME of the recipe, cell, network and data set of yours that it was made with.
            A file names them, and what a file names is not imported unless you name it too.

    Raises:
        ValueError: There is no such recipe, or deqlab brings no weights of it.
        OwnCodeError: The file names code of yours that is not among `own`, or is not to be had.
        CheckpointError: The file is none, damaged or cut off, or of other settings.

    Example:
        >>> model = trained("conv-fashion")
        >>> model(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    found, recipe, config = _read(name, own)
    with torch.random.fork_rng([]):  # its first weights are drawn, and replaced
        model = with_own(recipe.arms, config)[found["arm"]].make(
            config, recipe.restored(found["data"])
        )
    model.load_state_dict(found["model"])
    for layer_name, layer in layers_of(model).items():
        SolverChanges(layer).apply(found["solvers"][layer_name])
        layer.solver = replace(layer.solver, max_steps=MAX_STEPS)
        layer.on_failure = "warn"
    return model.eval()


def card(name: str | Path, *, own: Collection[str] = ()) -> Card:
    """Return what the network is that `trained` returns for this name, and what it does.

    Args:
        name: See `trained`.
        own: Likewise.

    Example:
        >>> card("conv-fashion").dataset
        'fashion_mnist'
    """
    found, recipe, config = _read(name, own)
    (summary,) = (row for row in found["rows"] if row["kind"] == "summary")
    return Card(
        recipe=recipe.name,
        command=_command(recipe, config),
        seed=found["seed"],
        dataset=config.subject,
        test_accuracy=summary.get("test_accuracy"),
        converged=summary["converged"],
        evaluations=summary["test_evaluations"],
        parameters=summary["parameters"],
        proved=tuple(_proved(found["rows"])),
    )


def trained_names() -> list[str]:
    """Return the recipes that deqlab brings weights of."""
    return [name for name in RECIPES if bundled(name).is_file()]


def bundled(name: str) -> Path:
    """Return where the weights of a recipe lie, if deqlab brings them."""
    return BUNDLED / f"{name}.safetensors"


def _path(name: str | Path) -> Path:
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return Path(name)
    if not bundled(name).is_file():
        raise ValueError(
            f"deqlab brings no weights called {name!r}: choose one of "
            f"{', '.join(trained_names())}, or name the file results/deq-SEED/weights.safetensors "
            "of a run of `deqlab train`"
        )
    return bundled(name)


def _read(name: str | Path, own: Collection[str]) -> tuple[Weights, Recipe, Any]:
    """Return what a file holds, its recipe and the config of that."""
    path = _path(name)
    found = read_weights(path)
    recipes = {**RECIPES, **_recipes(own)}
    _check_own(path, found, own, recipes)
    try:
        recipe = recipes[found["recipe"]]
        config = next(iter(recipe.presets.values()))
        config = type(config)(**found["config"])
        with_own(recipe.arms, config)[found["arm"]]  # KeyError
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is of the recipe {found['recipe']!r} with settings that this version of "
            f"deqlab does not have ({error}): load it with the version that wrote it; a "
            "recipe of your own is named by own=['MODULE:NAME']"
        ) from error
    return found, recipe, config


def _check_own(path: Path, found: Weights, own: Collection[str], recipes: Collection[str]) -> None:
    """Refuse a file that names code which the caller does not, with all of it in one sentence."""
    places = (found["config"].get(field) for field in OWN_FIELDS)
    missing = [
        place
        for place in dict.fromkeys(places)
        if isinstance(place, str) and is_target(place) and place not in own
    ]
    if not missing:
        return
    parts, wanted, where = list(missing), [*own, *missing], ""
    if found["recipe"] not in recipes:
        parts.append(f"the recipe {found['recipe']!r}")
        wanted.append("MODULE:NAME")
        where = ", with the MODULE:NAME of the recipe"
    *most, last = parts
    raise OwnCodeError(
        f"{path} was made with {', '.join(most) + ' and ' if most else ''}{last}, which is code "
        f"that loading it would run: if it is yours, say so by own={wanted!r}{where}"
    )


def _recipes(own: Collection[str]) -> dict[str, Recipe]:
    """Return the recipes among the code that the caller names."""
    held = [named(place) for place in own]
    return {each.name: each for each in held if isinstance(each, Recipe)}


def _command(recipe: Recipe, config: Any) -> str:  # noqa: ANN401, that of the recipe
    presets = (
        preset
        for preset, each in recipe.presets.items()
        if replace(each, seeds=config.seeds) == config
    )
    preset = next(presets, None)
    if preset is None:
        return f"deqlab train {recipe.name}, with settings of its own: see the config of its run"
    return f"deqlab train {recipe.name} --preset {preset} --seeds {len(config.seeds)}"


def _proved(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row['proved']}: {row['theorem']}"
        for row in rows
        if row["kind"] == "certificate" and row["when"] == "after training"
    ]
