"""A trained network of a recipe in one file: its weights, and what it takes to make it again.

Beside the weights stand the settings of the recipe, what training changed of the solvers, and the
rows that say what the network does. Nothing in a file is run.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, cast

from deqlab.experiments.base import Job, Row
from deqlab.recipes.attempt import Attempt
from deqlab.training.checkpoints.file import read, write
from deqlab.training.checkpoints.tree import CheckpointError

FILE = "weights.safetensors"
"""What a run calls the file of each seed."""


class Weights(TypedDict):
    """What such a file holds."""

    recipe: str
    config: dict[str, Any]
    arm: str
    seed: int
    data: dict[str, Any]
    model: dict[str, Any]
    solvers: dict[str, list[dict[str, int | float]]]
    rows: list[Row]


def write_weights(path: Path, recipe: str, job: Job, attempt: Attempt, rows: Sequence[Row]) -> None:
    """Write the network of a training that has ended.

    Args:
        path: The file; its folder is made.
        recipe: The name of the recipe.
        job: The arm and the seed of the training.
        attempt: The training.
        rows: What is known of the network: its summary, and what is proved of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found: Weights = {
        "recipe": recipe,
        "config": asdict(attempt.task.config),
        "arm": job.arm,
        "seed": job.seed,
        "data": attempt.task.about(),
        "model": attempt.model.state_dict(),
        "solvers": {name: changes.found() for name, changes in attempt.changes.items()},
        "rows": list(rows),
    }
    write(path, cast("dict[str, Any]", found))


def read_weights(path: Path) -> Weights:
    """Return what a file of weights holds.

    Raises:
        CheckpointError: It is none, damaged or cut off.
    """
    found = read(path)
    if found.keys() != Weights.__annotations__.keys():
        raise CheckpointError(
            f"{path} is a checkpoint, but not one of a network that `deqlab train` has trained to "
            "the end: those lie in the folder results of a run"
        )
    return cast("Weights", found)
