"""A setting of another library meets the name to use; numbers are what they must be."""

import copy
import inspect
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from deqlab import Anderson, Implicit, JacobianFree, Phantom, Picard
from deqlab.arguments import check_count, check_kind, check_number
from deqlab.gradients import GMRES
from deqlab.solvers import Solver
from tests.contracts.solvers import SOLVERS


@pytest.mark.parametrize(
    ("kind", "name", "advice"),
    [
        (Anderson, "tol", "it is called rtol here"),
        (Anderson, "f_tol", "it is called rtol here"),
        (Anderson, "eps", "it is called rtol here"),
        (Anderson, "max_iter", "it is called max_steps here"),
        (Anderson, "maxiter", "it is called max_steps here"),
        (Anderson, "f_max_iter", "it is called max_steps here"),
        (Anderson, "threshold", "it is called max_steps here"),
        (Anderson, "m", "it is called memory here"),
        (Anderson, "beta", "it is called damping here"),
        (Anderson, "lam", "it is called ridge here"),
        (Anderson, "stop_mode", "rtol is the relative tolerance and atol the absolute one"),
        (Anderson, "max_step", "did you mean max_steps?"),
        (Anderson, "colour", "it has rtol, atol, max_steps"),
        (Picard, "m", "it has rtol, atol, max_steps, min_steps, patience, record, damping"),
        (GMRES, "max_iter", "it is called max_products here"),
        (Phantom, "tau", "it is called damping here"),
        (Implicit, "method", "it is called solver here"),
        (JacobianFree, "tol", "it has none"),
    ],
)
def test_a_name_that_is_no_setting_meets_the_one_to_use(kind, name, advice):
    with pytest.raises(TypeError) as caught:
        kind(**{name: 3})
    assert str(caught.value).startswith(f"{kind.__name__} has no setting {name}: {advice}")


@pytest.mark.parametrize("case", SOLVERS)
def test_every_solver_helps_and_shows_its_own_signature(case):
    solver = SOLVERS[case]
    with pytest.raises(TypeError, match="has no setting tol: it is called rtol here"):
        type(solver)(tol=1e-3)
    parameters = inspect.signature(type(solver)).parameters.values()
    assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert {p.name for p in parameters} >= {"rtol", "atol", "max_steps"}


def test_a_setting_without_its_name_is_told_so():
    with pytest.raises(TypeError, match=r"by name, Anderson\(rtol=...\), got 0.001"):
        Anderson(1e-3)


def test_settings_are_copied_replaced_and_pickled():
    settings = Anderson(rtol=1e-3, memory=2)
    assert replace(settings, rtol=1e-4) == Anderson(rtol=1e-4, memory=2)
    assert copy.deepcopy(settings) == pickle.loads(pickle.dumps(settings)) == settings


def test_a_subclass_with_a_constructor_of_its_own_takes_what_it_likes():
    class Own(Picard):
        def __init__(self, tol, *, bar=0):
            super().__init__(rtol=tol)

    assert Own(1e-3, bar=1).rtol == 1e-3

    @dataclass(frozen=True, kw_only=True)
    class More(Picard):
        extra: float = 1.0

    assert More(extra=2.0).extra == 2.0
    with pytest.raises(TypeError, match="More has no setting tol"):
        More(tol=1.0)


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_any_library_count(value):
    check_count("width", value)


@pytest.mark.parametrize("value", [3.0, np.float64(3), True, "3", None, torch.tensor(3.5)])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(TypeError, match="width must be a whole number, got"):
        check_count("width", value)


def test_a_count_below_its_least_is_refused():
    check_count("n", 0, least=0)
    with pytest.raises(ValueError, match="n must be 0 or more, got -1"):
        check_count("n", -1, least=0)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        check_count("n", np.int64(0))


def test_numbers():
    for value in (0.5, 1, np.float32(0.5), torch.tensor(0.5)):
        check_number("bound", value)
    for value in ("0.5", True, None, 1j):
        with pytest.raises(TypeError, match="bound must be a number, got"):
            check_number("bound", value)


def test_what_stands_for_an_instance_is_said():
    for value, told in ((None, "None"), (3, "an instance of int"), ("x", "the string 'x'")):
        with pytest.raises(TypeError, match=f"must be a Solver, such as Picard.*, got {told}"):
            check_kind("solver", value, Solver, example="Picard()")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("rtol", "1e-3", "rtol must be a number, got '1e-3'"),
        ("max_steps", 10.0, "max_steps must be a whole number, got 10.0"),
        ("patience", True, "patience must be a whole number, got True"),
    ],
)
def test_a_solver_setting_of_another_type_is_refused(name, value, told):
    # In tests beartype may speak first, and names the value as well.
    with pytest.raises(TypeError) as caught:
        Picard(**{name: value})
    assert told in str(caught.value) or repr(value) in str(caught.value)
