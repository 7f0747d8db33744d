"""`deqlab list`: what there is on one screen, and all about one experiment or recipe."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deqlab.cli.overrides import shown
from deqlab.experiments.base import Experiment
from deqlab.experiments.fields import meanings

DEFAULT = "quick"
"""The preset of a command that names none."""


def show_all(experiments: Iterable[Experiment[Any]], *, what: str, command: str) -> None:
    """Print the names and titles of experiments, a line each, cut where a terminal ends.

    Args:
        experiments: The experiments.
        what: What they are called.
        command: What runs one.
    """
    console, listed = Console(), list(experiments)
    longest = max(len(name) for name in (what, *(each.name for each in listed)))
    for name, title in ((what, "title"), *((each.name, each.title) for each in listed)):
        line = Text.assemble((name.ljust(longest), "bold"), "  ", title)
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        console.print(line, highlight=False, soft_wrap=True)
    _line(console, f"\ndeqlab list NAME says what one claims and takes; {command} NAME runs it.")


def show_one(experiment: Experiment[Any], command: str) -> None:
    """Print what an experiment claims, its fields with defaults and meanings, and its presets.

    Args:
        experiment: The experiment.
        command: What runs it.
    """
    console = Console()
    default = experiment.presets.get(DEFAULT) or next(iter(experiment.presets.values()))
    console.print(Text(f"{experiment.name}: {experiment.title}", "bold"), highlight=False)
    _line(console, f"Claim ({experiment.origin}): {experiment.claim}")
    _line(console, f"Source: {experiment.source}\n")
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("field", DEFAULT, "meaning"):
        table.add_column(heading, overflow="fold", max_width=24 if heading == DEFAULT else None)
    for name, meaning in meanings(type(default)).items():
        table.add_row(Text(name), Text(shown(getattr(default, name))), Text(meaning))
    console.print(table)
    _line(console, f"\n{command} {experiment.name} --set FIELD=VALUE; presets:")
    for name, preset in experiment.presets.items():
        differs = _differs(preset, default)
        _line(console, f"  --preset {name}: {differs or 'as above, the default'}")


def _differs(config: Any, default: Any) -> str:  # noqa: ANN401
    """Return the fields of a config that the default has other values of, as settings."""
    pairs = [
        (field.name, getattr(config, field.name), getattr(default, field.name))
        for field in dataclasses.fields(config)
    ]
    return ", ".join(f"{name}={shown(ours)}" for name, ours, theirs in pairs if ours != theirs)


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
