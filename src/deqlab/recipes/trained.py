"""Networks that are trained already, by the name of their recipe, each with its card."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deqlab.experiments.base import Row
from deqlab.recipes.classifying import Recipe
from deqlab.recipes.images import Images
from deqlab.recipes.registry import RECIPES
from deqlab.recipes.weights import Weights, read_weights
from deqlab.training.checkpoints.tree import CheckpointError
from deqlab.training.equilibrium import MAX_STEPS
from deqlab.training.layers import layers_of
from deqlab.training.solver_changes import SolverChanges

BUNDLED = Path(__file__).parent / "bundled"
"""A file for each recipe with a run under `benchmarks/results/models`: of the seed whose test
accuracy is the median, and not of the best."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a trained network is, and what it does.

    Attributes:
        recipe: The name of its recipe.
        command: What trained it, and networks of other seeds.
        seed: Its seed.
        dataset: What it was trained and tested on.
        test_accuracy: The share of the test samples that it classifies rightly.
        converged: The share of the test samples at their equilibrium (rtol 1e-2, 40 steps).
        evaluations: Evaluations of f for it, the mean over batches.
        parameters: Numbers that were trained.
        proved: What is proved of each of its DEQ layers, for every input.
    """

    recipe: str
    command: str
    seed: int
    dataset: str
    test_accuracy: float
    converged: float
    evaluations: float
    parameters: int
    proved: tuple[str, ...]


def trained(name: str | Path) -> nn.Module:
    """Return a network that is trained already, in eval mode.

    Its DEQ layers warn where they miss their equilibrium, and take as many steps as in the test.

    Args:
        name: A recipe that deqlab brings weights of (see `trained_names`), for those; or the file
            `results/deq-SEED/weights.safetensors` of a run of your own.

    Raises:
        ValueError: There is no such recipe, or deqlab brings no weights of it.
        CheckpointError: The file is none, damaged or cut off, or of other settings.

    Example:
        >>> model = trained("conv-fashion")
        >>> model(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    found, recipe, config = _read(name)
    with torch.random.fork_rng([]):  # its first weights are drawn, and replaced
        model = recipe.networks.deq(config, _like(found))
    model.load_state_dict(found["model"])
    for layer_name, layer in layers_of(model).items():
        SolverChanges(layer).apply(found["solvers"][layer_name])
        layer.solver = replace(layer.solver, max_steps=MAX_STEPS)
        layer.on_failure = "warn"
    return model.eval()


def card(name: str | Path) -> Card:
    """Return what the network is that `trained` returns for this name, and what it does.

    Example:
        >>> card("conv-fashion").dataset
        'fashion_mnist'
    """
    found, recipe, config = _read(name)
    (summary,) = (row for row in found["rows"] if row["kind"] == "summary")
    return Card(
        recipe=recipe.name,
        command=_command(recipe, config),
        seed=found["seed"],
        dataset=config.dataset,
        test_accuracy=summary["test_accuracy"],
        converged=summary["converged"],
        evaluations=summary["test_evaluations"],
        parameters=summary["parameters"],
        proved=tuple(_proved(found["rows"])),
    )


def trained_names() -> list[str]:
    """Return the recipes that deqlab brings weights of."""
    return [name for name in RECIPES if _bundled(name).is_file()]


def _bundled(name: str) -> Path:
    return BUNDLED / f"{name}.safetensors"


def _path(name: str | Path) -> Path:
    if isinstance(name, Path) or name.endswith(".safetensors"):
        return Path(name)
    if not _bundled(name).is_file():
        raise ValueError(
            f"deqlab brings no weights called {name!r}: choose one of "
            f"{', '.join(trained_names())}, or name the file results/deq-SEED/weights.safetensors "
            "of a run of `deqlab train`"
        )
    return _bundled(name)


def _read(name: str | Path) -> tuple[Weights, Recipe, Any]:
    """Return what a file holds, its recipe and the config of that."""
    path = _path(name)
    found = read_weights(path)
    try:
        recipe = RECIPES[found["recipe"]]
        config = type(recipe.presets["full"])(**found["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is of the recipe {found['recipe']!r} with settings that this version of "
            f"deqlab does not have ({error}): load it with the version that wrote it"
        ) from error
    return found, recipe, config


def _like(found: Weights) -> Images:
    """Return images of the same shape, of which there are none."""
    none = torch.empty(0, *found["shape"]), torch.empty(0, dtype=torch.int64)
    return Images(
        train=none,
        validation=None,
        test=none,
        shape=found["shape"],
        num_classes=found["num_classes"],
    )


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
