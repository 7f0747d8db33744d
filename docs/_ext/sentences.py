"""What deqlab says when it raises: a list of all sentences, made from the sources.

    ```{sentences}
    ```

stands for it on a page. What a sentence fills in is shown as "…".
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SPECIAL = re.compile(r"([*_`|<>#\\\[])")
"""Characters that mean something in Markdown."""


def raised(sources: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each module that raises with a sentence, and these as Markdown."""
    for file in sorted(sources.rglob("*.py")):
        nodes_ = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        calls = [node.exc for node in nodes_ if isinstance(node, ast.Raise)]
        found = [
            f"`{ast.unparse(call.func)}`: {sentence}"
            for call in calls
            if isinstance(call, ast.Call) and call.args and (sentence := _sentence(call.args[0]))
        ]
        if found:
            yield ".".join(file.relative_to(sources).with_suffix("").parts), found


def _sentence(text: ast.expr) -> str:
    """Return a text that is written out, as Markdown; nothing for another."""
    words = " ".join(filled(text).split())
    return SPECIAL.sub(r"\\\1", words) if " " in words else ""


def filled(text: ast.expr) -> str:
    """Return a text of the source, with "…" in the place of what it fills in."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if isinstance(text, ast.JoinedStr):
        return "".join(map(filled, text.values))
    return "…"


class Sentences(SphinxDirective):
    """The list, a paragraph for each module."""

    def run(self) -> list[nodes.Node]:
        """Return its nodes."""
        lines = []
        for module, said in raised(Path(self.env.srcdir).parent / "src"):
            lines += [f"**`{module}`**", "", *(f"- {sentence}" for sentence in said), ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("sentences", Sentences)
    return {"parallel_read_safe": True}
