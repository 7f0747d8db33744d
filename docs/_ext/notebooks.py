"""Pages of learn and of the gallery as notebooks to download, made when the docs are built.

The code cells are the page's Python blocks, which the tests execute.
"""

import re
from base64 import b64encode
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode, v4
from sphinx.application import Sphinx

FOLDERS = ("learn", "gallery")

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<path>[^)]+)\)")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?!https?:)[^)]+\)")

SETUP = "%pip install -q torch deqlab"


class Part(NamedTuple):
    """What stands between two fences of a page, or beside them."""

    text: str
    is_code: bool


def parts_of(page: str) -> list[Part]:
    """Return the prose and the Python of a page, in their order."""
    pieces = BLOCK.split(page)  # code at odd places
    parts = [Part(text.strip(), i % 2 == 1) for i, text in enumerate(pieces)]
    return [part for part in parts if part.text]


def notebook_of(page: Path) -> NotebookNode:
    """Return a page as a notebook: pictures inside, links to other pages as their words."""
    cells = [v4.new_code_cell(SETUP)]
    for part in parts_of(page.read_text(encoding="utf-8")):
        if part.is_code:
            cells.append(v4.new_code_cell(part.text))
            continue
        pictures = {Path(found["path"]).name: found["path"] for found in IMAGE.finditer(part.text)}
        text = IMAGE.sub(
            lambda found: f"![{found['text']}](attachment:{Path(found['path']).name})", part.text
        )
        cell = v4.new_markdown_cell(LINK.sub(r"\g<text>", text))
        if pictures:
            cell.attachments = {
                name: _attached(page.parent / path) for name, path in pictures.items()
            }
        cells.append(cell)
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same at every build
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def _attached(picture: Path) -> dict[str, str]:
    kind, _ = guess_type(picture.name)
    return {str(kind): b64encode(picture.read_bytes()).decode()}


def write_notebooks(app: Sphinx) -> None:
    """Write a notebook for each page that has Python in it."""
    docs = Path(app.srcdir)
    folder = docs / "notebooks"
    folder.mkdir(exist_ok=True)
    for page in _pages(docs):
        nbformat.write(notebook_of(page), folder / f"{page.stem}.ipynb")


def _pages(docs: Path) -> list[Path]:
    pages = [page for folder in FOLDERS for page in sorted((docs / folder).glob("*.md"))]
    return [page for page in pages if BLOCK.search(page.read_text(encoding="utf-8"))]


def offer(app: Sphinx, name: str, source: list[str]) -> None:
    """Put a link to the notebook at the end of its page."""
    folder, _, stem = name.partition("/")
    if folder in FOLDERS and (Path(app.srcdir) / "notebooks" / f"{stem}.ipynb").exists():
        source[0] += f"\n\n{{download}}`This page as a notebook <../notebooks/{stem}.ipynb>`\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_notebooks)
    app.connect("source-read", offer)
    return {"parallel_read_safe": True}
