"""The pages that are made of runs say what the runs say; pictures belong to pages."""

import re
from pathlib import Path

import pytest

from benchmarks import claims, evidence, pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def runs():
    return claims.read()


@pytest.mark.slow
def test_the_pages_of_evidence_are_those_of_the_runs(runs):
    made = evidence.pages(runs)
    assert {file.name for file in made} == {file.name for file in (DOCS / "evidence").glob("*.md")}
    for file, text in made.items():
        assert file.read_text(encoding="utf-8") == text


@pytest.mark.slow
def test_every_comparison_names_each_rival_once(runs):
    (steep,) = (run for run in runs if run.config["experiment"] == "steep-d10")
    found = evidence.rivals(steep)
    assert [outcome for *_, outcome in found] == ["the DEQ is better"] * 5 + ["tie"]
    assert [gain.low > 0 for _, _, gain, _ in found] == [True] * 5 + [False]
    assert len({(label, cost) for label, cost, *_ in found}) == 6


@pytest.mark.parametrize("drawing", [*pages.LEARN, *pages.GALLERY], ids=lambda d: d.__name__)
def test_every_picture_is_shown_on_the_page_whose_code_makes_it(drawing):
    page, file = pages.page_of(drawing)
    assert f"../figures/{file})" in page.read_text(encoding="utf-8")
    assert (DOCS / "figures" / file).exists()


def test_every_page_of_the_gallery_has_a_picture_and_a_card():
    index = (DOCS / "gallery" / "index.md").read_text(encoding="utf-8")
    names = {page.stem for page in (DOCS / "gallery").glob("*.md")} - {"index"}
    assert {pages.page_of(drawing)[0].stem for drawing in pages.GALLERY} == names
    assert names == set(re.findall(r"\*\*\]\((.*?)\.md\)", index))


@pytest.mark.slow
def test_the_pictures_are_made_of_what_the_pages_run():
    for drawing in (*pages.LEARN, *pages.GALLERY):
        page, _ = pages.page_of(drawing)
        figure = drawing(pages.run(page))
        assert figure.axes
        pages.plt.close(figure)
