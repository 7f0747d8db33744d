"""Docstrings are Markdown; Sphinx reads reStructuredText. This translates one into the other."""

import re
from collections.abc import Iterator
from inspect import getdoc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SPECIAL = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")
"""Characters that mean something in reStructuredText, and nothing in our prose."""


def translated(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a docstring as reStructuredText.

    A block that is indented by four after an empty line, or fenced, is shown as it stands; code in
    single backticks gets two; and characters that are special in reStructuredText are escaped.
    """
    level, literal, fenced, blank = 0, -1, False, True
    for line in lines:
        text = line.lstrip()
        indent = len(line) - len(text)
        example = text.startswith(">>>")
        if text.startswith("```"):
            fenced, blank = not fenced, True
            yield from ("", " " * indent + "::", "") if fenced else ("",)
        elif not text:
            blank = True
            yield line
        elif fenced:
            yield "    " + line
        elif 0 <= literal <= indent:
            yield line
        elif blank and indent >= level + 4 and not example:
            literal = indent
            yield from (" " * level + "::", "", line)
        else:
            level, literal, blank = indent, -1, False
            yield line if example else _escaped(line)


def _escaped(line: str) -> str:
    parts = line.split("`")
    if len(parts) % 2 == 0:  # a backtick without a mate
        return line
    parts[::2] = [SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    return "``".join(parts)


def _translate(
    app: "Sphinx", what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    if what == "data" and getdoc(thing) == getdoc(type(thing)):
        lines.clear()  # that of its type says nothing of this value
    lines[:] = translated(lines)


def setup(app: "Sphinx") -> dict[str, bool]:
    """Register with Sphinx, before napoleon (at 500), which reads the sections."""
    app.connect("autodoc-process-docstring", _translate, priority=400)
    return {"parallel_read_safe": True}
