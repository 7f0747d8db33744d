"""A release names one version, and its README shows its pictures away from the repository."""

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from deqlab.version import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture
def release():
    spec = spec_from_file_location("release", ROOT / ".ci" / "version.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_citation_names_the_version_of_the_package(release):
    versions = release.versions()
    assert versions["src/deqlab/version.py"] == versions["CITATION.cff"] == __version__


def test_a_tag_of_another_version_is_refused(release):
    with pytest.raises(SystemExit, match=r"the tag is v9\.9, but src/deqlab/version\.py says "):
        release.main("v9.9")


def test_no_picture_and_no_link_of_the_readme_is_relative_on_a_package_index():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repository = settings["project"]["urls"]["Repository"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    hook = settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for place in hook["substitutions"]:
        assert repository.removeprefix("https://github.com/") in place["replacement"]
        text = re.sub(place["pattern"], place["replacement"], text)
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 5
    assert all(target.startswith(("https://", "#")) for target in targets)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    assert all("raw.githubusercontent.com" in picture for picture in pictures)
