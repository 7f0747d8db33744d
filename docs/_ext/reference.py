"""The reference: a page for every public name, made from the sources when the docs are built.

Where the names of a module shall stand, a page of the reference has

    ```{public} deqlab.solvers
    ```

which lists those of its `__all__`, or those between the fences, one a line. Before Sphinx
looks for pages, one is written for each name to reference/api: the whole signature, the docstring,
and "Formulas and sources" of the module that defines the name.
"""

import re
from importlib import import_module
from inspect import getdoc, isclass, ismodule, isroutine
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FENCE = re.compile(r"^```\{public\} (?P<module>\S+)\n(?P<names>.*?)^```$", re.MULTILINE | re.DOTALL)


def asked_for(page: str) -> dict[str, list[str]]:
    """Return the names that a page of the reference lists, by the module they come from."""
    return {
        found["module"]: names_of(found["module"], found["names"].split())
        for found in FENCE.finditer(page)
    }


def names_of(module: str, listed: list[str]) -> list[str]:
    """Return the public names of a module, those of classes and functions before constants."""
    home = import_module(module)
    names = listed or [name for name in home.__all__ if not ismodule(getattr(home, name))]
    return sorted(names, key=lambda name: (name.isupper(), name.lower()))


def page_of(module: str, name: str) -> str:
    """Return the page of one name, as reStructuredText."""
    thing = getattr(import_module(module), name)
    lines = [name, "=" * len(name), ""]
    if isclass(thing):
        lines += [f".. autoclass:: {module}.{name}", "   :members:", "   :show-inheritance:"]
    else:
        lines += [f".. {'autofunction' if isroutine(thing) else 'autodata'}:: {module}.{name}"]
    home = getattr(thing, "__module__", module)
    source = (getdoc(import_module(home)) or "") if home.startswith("deqlab.") else ""
    if home != module and "\n" in source:
        title = "Formulas and sources"
        lines += ["", title, "-" * len(title), "", f"Of the module ``{home}``.", ""]
        lines += [f".. automodule:: {home}", "   :no-index:"]
    return "\n".join(lines) + "\n"


def write_pages(app: Sphinx) -> None:
    """Write the pages that the reference asks for, and remove those of names that are gone."""
    reference = Path(app.srcdir) / "reference"
    folder = reference / "api"
    folder.mkdir(exist_ok=True)
    wanted = {}
    for file in sorted(reference.glob("*.md")):
        for module, names in asked_for(file.read_text(encoding="utf-8")).items():
            wanted |= {folder / f"{module}.{name}.rst": page_of(module, name) for name in names}
    for file, text in wanted.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:  # else nothing is rebuilt
            file.write_text(text, encoding="utf-8")
    for file in set(folder.glob("*.rst")) - set(wanted):
        file.unlink()


class Public(SphinxDirective):
    """The names of a module, each with the first sentence of its docstring."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table, and a hidden table of contents."""
        module = self.arguments[0]
        home = import_module(module)
        names = names_of(module, list(self.content))
        lines = ["````{toctree}", ":hidden:", *(f"api/{module}.{name}" for name in names), "````"]
        lines += ["", "| name | what it is |", "|---|---|"]
        lines += [
            f"| [`{name}`](api/{module}.{name}.rst) | {_summary(getattr(home, name))} |"
            for name in names
        ]
        return self.parse_text_to_nodes("\n".join(lines))


def _summary(thing: object) -> str:
    if not (isclass(thing) or isroutine(thing)):
        return "a constant, or a type"
    return (getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").replace("|", r"\|")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    app.add_directive("public", Public)
    return {"parallel_read_safe": True}
