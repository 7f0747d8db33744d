"""The reference: every public name stands on the page of its area, as users import it.

The page of an area shows its package, and with it all that the package exports.
"""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "reference"
AREAS = {
    "solvers": "deqlab.solvers",
    "gradients": "deqlab.gradients",
    "layers": "deqlab.nn",
    "stability": "deqlab.stability",
    "training": "deqlab.training",
    "recipes": "deqlab.recipes",
    "integrations": "deqlab.integrations",
    "activations": "deqlab.activations",
    "kernels": "deqlab.kernels",
    "expressivity": "deqlab.expressivity",
    "search": "deqlab.expressivity.search",
    "bias": "deqlab.bias",
    "tasks": "deqlab.tasks",
}


def shown(page):
    return set(re.findall(r"^::: ([\w.]+)$", (PAGES / f"{page}.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", AREAS)
def test_every_area_shows_all_that_its_package_exports(page):
    assert AREAS[page] in shown(page)
    exported = importlib.import_module(AREAS[page]).__all__
    assert len(set(exported)) == len(exported)


def test_every_name_of_the_package_itself_is_somewhere():
    import deqlab

    exported = {name for area in AREAS.values() for name in importlib.import_module(area).__all__}
    named = {name.rpartition(".")[2] for name in shown("solving")}
    assert set(deqlab.__all__) - {"__version__"} <= exported | named


def test_what_is_shown_is_there():
    for page in PAGES.glob("*.md"):
        for name in shown(page.stem):
            parent, _, last = name.rpartition(".")
            package = importlib.import_module(parent)
            # A callback's module imports its framework, which may be absent; it need only be found.
            found = hasattr(package, "__path__") and find_spec(name)
            assert found or hasattr(package, last), name
