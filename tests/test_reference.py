"""The reference: every public name stands on the page of its area, as users import it."""

import importlib
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "reference"
AREAS = {
    "solvers": "deqlab.solvers",
    "gradients": "deqlab.gradients",
    "layers": "deqlab.nn",
    "stability": "deqlab.stability",
    "training": "deqlab.training",
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
def test_every_public_name_of_an_area_is_on_its_page(page):
    package = importlib.import_module(AREAS[page])
    assert {f"{AREAS[page]}.{name}" for name in package.__all__} <= shown(page)


def test_every_name_of_the_package_itself_is_somewhere():
    import deqlab

    names = {name.rpartition(".")[2] for page in PAGES.glob("*.md") for name in shown(page.stem)}
    assert set(deqlab.__all__) - {"__version__"} <= names


def test_what_is_shown_is_there():
    for page in PAGES.glob("*.md"):
        for name in shown(page.stem):
            parent, _, last = name.rpartition(".")
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(parent), last), name
