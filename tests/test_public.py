"""The public names, and what importing them costs."""

import importlib
import subprocess
import sys

import pytest

import deqlab
from deqlab.moved import MOVED


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", deqlab.__all__)
def test_every_public_name_resolves(name):
    assert getattr(deqlab, name) is not None
    assert name in dir(deqlab)


@pytest.mark.parametrize(
    "package", ["solvers", "gradients", "nn", "stability", "expressivity", "expressivity.search"]
)
def test_every_name_of_a_subpackage_resolves(package):
    module = importlib.import_module(f"deqlab.{package}")
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_the_public_names_are_those_of_the_design():
    assert {
        "fixed_point",
        "DEQ",
        "Solution",
        "Status",
        "ConvergenceError",
        "ConvergenceWarning",
        "Picard",
        "Anderson",
        "Implicit",
        "JacobianFree",
        "Unrolled",
    } <= set(deqlab.__all__)


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="module 'deqlab' has no attribute 'Andersen'"):
        deqlab.Andersen  # noqa: B018


@pytest.mark.parametrize("module", ["deqlab", "deqlab.report"])
def test_importing_it_does_not_import_torch(module):
    done = run(f"import sys, {module}; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_a_star_import_gives_exactly_the_public_names():
    done = run(
        "from deqlab import *\nimport deqlab\n"
        "print(set(deqlab.__all__) <= set(globals()), fixed_point.__module__)"
    )
    assert done.stdout.strip() == "True deqlab.solve", done.stderr


@pytest.mark.parametrize("name", MOVED)
def test_a_module_that_moved_says_where_to(name):
    with pytest.raises(ModuleNotFoundError, match=rf"{name} is now {MOVED[name]}") as caught:
        importlib.import_module(name)
    assert caught.value.name == name
    for place in MOVED[name].split(", and "):
        assert importlib.import_module(place)


def test_a_module_that_never_was_is_missing_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'deqlab\.nothing'"):
        importlib.import_module("deqlab.nothing")
