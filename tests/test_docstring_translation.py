"""Docstrings reach Sphinx as they were meant: docs/_ext/docstrings.py."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent / "docs" / "_ext" / "docstrings.py"


@pytest.fixture
def translate():
    spec = spec_from_file_location("docstrings", FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda text: "\n".join(module.translated(text.split("\n")))


def test_code_gets_two_backticks_and_special_characters_are_escaped(translate):
    assert translate("`z_star` of z* and |J|, W_") == r"``z_star`` of z\* and \|J\|, W\_"


def test_an_indented_formula_is_shown_as_it_stands(translate):
    text = "One step is\n\n    z_{k+1} = z_k * `beta`\n\nand so on, z*."
    shown = "One step is\n\n::\n\n    z_{k+1} = z_k * `beta`\n\nand so on, z\\*."
    assert translate(text) == shown


def test_a_fence_is_shown_as_it_stands(translate):
    assert translate("So:\n```\na * b\n```\nz*") == "So:\n\n::\n\n    a * b\n\nz\\*"


def test_arguments_and_examples_stay_what_napoleon_reads(translate):
    text = "Do it.\n\nArgs:\n    f: The map, `f(z)`.\n\nExample:\n    >>> f(*z)\n    1"
    assert translate(text) == text.replace("`", "``")
