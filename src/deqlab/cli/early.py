"""Names and presets of a command, checked and completed before torch is imported.

That takes seconds, and a slip of a finger should be told at once. What `names` does not know,
MODULE:NAME and what packages register, is left to the registries.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

import typer

from deqlab.cli.names import GROUPS, MORE_PRESETS, PRESETS, RUN, TRAIN
from deqlab.own.target import hint


class UnknownNameError(ValueError):
    """The command names what is not there; the message suggests what is."""


@dataclass(frozen=True)
class Kind:
    """What a command takes.

    Attributes:
        what: What one is called, with its article.
        command: What runs it.
        names: Those of deqlab.
        group: The group of entry points of those of packages.
    """

    what: str
    command: str
    names: tuple[str, ...]
    group: str

    def all(self) -> list[str]:
        """Return all names, ours and those that packages register."""
        return [*self.names, *(point.name for point in entry_points(group=self.group))]


TO_RUN = Kind("an experiment", "deqlab run", (*RUN, *GROUPS), "deqlab.experiments")
TO_TRAIN = Kind("a recipe", "deqlab train", TRAIN, "deqlab.recipes")
OTHER = {TO_RUN: TO_TRAIN, TO_TRAIN: TO_RUN}


def check(kind: Kind, names: Iterable[str], preset: str) -> None:
    """Raise UnknownNameError unless there are such names of a kind, and all have the preset."""
    for name in names:
        if ":" in name:
            continue
        if name not in kind.names:
            _check_name(kind, name)
        elif preset not in presets_of(name):
            raise UnknownNameError(f"no preset named {preset!r}; {hint(preset, presets_of(name))}")


def check_either(name: str) -> None:
    """Raise UnknownNameError unless an experiment or a recipe has this name."""
    if ":" in name or name in TO_RUN.names or name in TO_TRAIN.names:
        return
    known = [*TO_RUN.all(), *TO_TRAIN.all()]
    if name not in known:
        raise UnknownNameError(f"no experiment or recipe named {name!r}; {hint(name, known)}")


def _check_name(kind: Kind, name: str) -> None:
    known, other = kind.all(), OTHER[kind]
    if name in known:
        return
    if name in other.all():
        raise UnknownNameError(f"{name} is {other.what}: {other.command} {name}")
    told = hint(name, known)
    raise UnknownNameError(f"no {kind.what.split()[-1]} named {name!r}; {told}")


def presets_of(name: str) -> tuple[str, ...]:
    """Return the presets of an experiment, a group or a recipe of deqlab."""
    return (*PRESETS, *(preset for preset, having in MORE_PRESETS.items() if name in having))


def more_presets(kind: Kind) -> str:
    """Return the presets that some of a kind have beside those of all, and who has them."""
    found = {p: [n for n in having if n in kind.names] for p, having in MORE_PRESETS.items()}
    return ", ".join(
        f"{preset} ({', '.join(having)})" for preset, having in found.items() if having
    )


def presets_completed(kind: Kind, names: Sequence[str], incomplete: str) -> list[str]:
    """Return the presets that begin so and that all of these names have; of none, any."""
    having = [name for name in names if name in kind.names]
    every = dict.fromkeys(preset for name in kind.names for preset in presets_of(name))
    return [
        preset
        for preset in every
        if preset.startswith(incomplete) and all(preset in presets_of(name) for name in having)
    ]


def complete_preset_of(kind: Kind) -> Callable[[typer.Context, str], list[str]]:
    """Return what completes the option --preset of the command of a kind."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        # While the option has no value yet, the words before it are not parsed, but left over.
        names = [*(ctx.params.get("names") or ()), *ctx.args]
        return presets_completed(kind, names, incomplete)

    return complete
