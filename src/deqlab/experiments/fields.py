"""What the fields of a config mean: the section "Attributes" of the docstrings of its classes."""

import inspect
import re
from dataclasses import fields
from typing import Any

_ENTRY = re.compile(r"^    (\w+): +(.*)$")
_MORE = re.compile(r"^     +(.*)$")


def meanings(config: type[Any]) -> dict[str, str]:
    """Return what each field of a dataclass means, in its order; "" where nobody says.

    Example:
        >>> from deqlab.experiments.config import Config
        >>> meanings(Config)
        {'seeds': 'One job of every arm for each of them, unless the plan says otherwise.'}
    """
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        found |= _attributes(inspect.cleandoc(cls.__doc__ or ""))
    return {field.name: found.get(field.name, "") for field in fields(config)}


def _attributes(docstring: str) -> dict[str, str]:
    """Return the entries of the section "Attributes", each as one line."""
    _, _, section = docstring.partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if entry := _ENTRY.match(line):
            name = entry[1]
            found[name] = entry[2]
        elif name and (more := _MORE.match(line)):
            found[name] += f" {more[1]}"
        elif line.strip():  # another section
            break
    return found
