"""Notebooks that the docs offer, as docs/_ext/notebooks.py makes them."""

import importlib
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    page
    for folder in ("learn", "gallery")
    for page in (DOCS / folder).glob("*.md")
    if page.stem != "index"
)

pytest.importorskip("sphinx")
nbformat = pytest.importorskip("nbformat")


@pytest.fixture
def notebooks(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")
    return importlib.import_module("notebooks")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_cells_are_the_blocks_of_the_page_and_pictures_are_inside(notebooks, page):
    made = notebooks.notebook_of(page)
    nbformat.validate(made)
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    lines = page.read_text(encoding="utf-8").split("\n")
    begins = [i for i, line in enumerate(lines) if line == "```python"]
    blocks = ["\n".join(lines[i + 1 : lines.index("```", i)]).strip() for i in begins]
    assert code == [notebooks.SETUP, *blocks]
    for cell in made.cells:
        if cell.cell_type == "markdown":
            assert cell.source.count("](attachment:") == len(cell.get("attachments", {}))
            assert "](" not in cell.source.replace("](attachment:", "").replace("](http", "")
