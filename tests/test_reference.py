"""The reference: every public name has a page, and is listed as users import it."""

import importlib
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "reference"
FENCE = re.compile(r"^```\{public\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""As docs/_ext/reference.py reads it, which needs Sphinx."""
PACKAGES = (
    "solvers",
    "gradients",
    "nn",
    "stability",
    "training",
    "diagnosis",
    "control",
    "recipes",
    "integrations",
    "estimators",
    "activations",
    "kernels",
    "expressivity",
    "expressivity.search",
    "bias",
    "tasks",
    "compat.torchdeq",
)
LISTED = {
    (page.stem, module): names.split()
    for page in sorted(PAGES.glob("*.md"))
    for module, names in FENCE.findall(page.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_listed_with_all_that_it_exports(package):
    (names,) = [names for (_, module), names in LISTED.items() if module == f"deqlab.{package}"]
    assert names == []  # which stands for its __all__
    exported = importlib.import_module(f"deqlab.{package}").__all__
    assert len(set(exported)) == len(exported)


def test_every_name_of_the_package_itself_is_somewhere():
    import deqlab

    exported = {name for p in PACKAGES for name in importlib.import_module(f"deqlab.{p}").__all__}
    named = set().union(*LISTED.values())
    assert set(deqlab.__all__) - {"__version__"} <= exported | named


@pytest.mark.parametrize("page", LISTED, ids="-".join)
def test_what_is_listed_by_name_is_defined_there(page):
    source = importlib.util.find_spec(page[1]).origin
    text = Path(source).read_text(encoding="utf-8")
    assert all(re.search(rf"\b{name}\b", text) for name in LISTED[page])


def test_every_page_of_the_reference_is_reached():
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    pages = {page.stem for page in PAGES.glob("*.md")} - {"index"}
    assert pages <= set(re.findall(r"^[a-z-]+$", index, re.MULTILINE))
