"""Where a command writes that is not told: a folder of runs/ that no other run is in."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from deqlab.runs.opening import OtherRunError, check

RUNS = Path("runs")

LONGEST = 60
"""Characters of a name that a folder is called by; names of files have 255 bytes."""


def folder_for(command: str, what: str, description: dict[str, Any]) -> Path:
    """Return the folder in which a run goes on that was begun by this command, or one for it.

    That of another run is left alone: the next one has a number.

    Args:
        command: The name of the command.
        what: What it is asked about: a file, a name.
        description: What config.json of the run holds.

    Raises:
        RunError: The folder cannot be used, or is damaged.
    """
    for path in _numbered(command, what):
        try:
            check(path, description)
        except OtherRunError:
            continue
        return path
    raise AssertionError  # there is always a next number


def free_folder(command: str, what: str) -> Path:
    """Return a folder that does not exist yet, called as those of `folder_for`."""
    return next(path for path in _numbered(command, what) if not path.exists())


def _numbered(command: str, what: str) -> Iterator[Path]:
    plain = re.sub(r"[^\w.-]+", "-", Path(what).name)
    name = f"{command}-{plain[-LONGEST:]}"
    return (RUNS / (name if number == 1 else f"{name}-{number}") for number in count(1))
