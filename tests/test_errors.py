"""The sentences that a failed solve speaks: what, where, measured, next step."""

import importlib
import math
import pickle
import re
import warnings
from dataclasses import replace

import pytest
import torch

from deqlab import (
    ConvergenceError,
    ConvergenceWarning,
    Picard,
    Solution,
    Status,
    fixed_point,
)
from deqlab.errors import check_on_failure
from deqlab.failures import describe_failure, report_error, report_failure
from tests.problems import F64


def solution(*statuses, residual=None, tolerance=None, trace=None, steps=None):
    batch = len(statuses)
    residual = [1e-2] * batch if residual is None else residual
    tolerance = [1e-5] * batch if tolerance is None else tolerance
    trace = torch.tensor([residual], dtype=F64) if trace is None else trace
    return Solution(
        value=torch.zeros(batch, 1),
        residual=torch.tensor(residual, dtype=F64),
        tolerance=torch.tensor(tolerance, dtype=F64),
        status=torch.tensor([int(s) for s in statuses], dtype=torch.int64),
        steps=torch.tensor([len(trace)] * batch if steps is None else steps, dtype=torch.int64),
        evaluations=len(trace),
        trace=trace,
    )


GOOD, SLOW, STUCK = Status.CONVERGED, Status.MAX_STEPS, Status.STAGNATED


def test_the_message_counts_failures_and_names_the_worst_with_its_numbers():
    failed = solution(
        GOOD,
        SLOW,
        SLOW,
        residual=[9e-1, 1.5e-2, 2e-3],
        tolerance=[1.0, 1e-5, 2e-5],
        steps=[1, 7, 8],
    )
    assert describe_failure(failed, what="fixed_point").startswith(
        "fixed_point: 2 of 3 samples missed the tolerance (worst: sample 1, residual 1.5e-02 "
        "where 1.0e-05 is allowed, after 7 steps; 0 non-finite)."
    )


def test_the_worst_sample_is_the_furthest_from_its_own_tolerance():
    failed = solution(SLOW, SLOW, residual=[1e3, 1.0], tolerance=[1e2, 1e-6])
    assert "worst: sample 1" in describe_failure(failed, what="f")


def test_a_nonfinite_sample_is_the_worst_and_is_counted():
    failed = solution(SLOW, Status.NONFINITE, residual=[1e9, math.nan])
    message = describe_failure(failed, what="f")
    assert "worst: sample 1" in message
    assert "1 non-finite" in message
    assert "f returned inf or nan: check its inputs" in message


def test_a_sample_that_still_converges_is_told_its_rate_and_to_raise_max_steps():
    trace = torch.tensor([[0.5**k] for k in range(9)], dtype=F64)
    failed = solution(SLOW, residual=[0.5**8], trace=trace)
    message = describe_failure(failed, what="f")
    assert "shrinks by a factor 0.500 per step: raise max_steps" in message
    # A linear method counts products, and evaluates nothing.
    message = describe_failure(replace(failed, evaluations=0, products=8), what="adjoint of f")
    assert "raise max_products" in message


def test_the_rate_looks_at_the_last_steps_that_the_sample_took():
    # After its 4 steps the sample stood still while others went on.
    trace = torch.tensor([[1.0], [0.1], [0.01], [0.001], [0.001], [0.001]], dtype=F64)
    failed = solution(SLOW, residual=[0.001], trace=trace, steps=[4])
    assert "factor 0.100 per step" in describe_failure(failed, what="f")


@pytest.mark.parametrize(
    ("status", "trace", "advice"),
    [
        (Status.DIVERGED, [1.0, 10.0, 100.0], "The residual grows: f does not contract here"),
        (STUCK, [1.0, 1.0, 1.0], "The residual no longer shrinks: the tolerance may be below"),
        (STUCK, [1.0, 1.0, 1.0], "Raise patience if it only moves slowly"),
        (SLOW, [1.0, 2.0, 3.0], "The residual no longer shrinks"),
        (SLOW, [1.0, 10.0, 100.0], "The residual still grows by a factor 10.000 per step: f does"),
        (SLOW, [1.0], "It had one step, which shows no trend: raise max_steps"),
    ],
)
def test_the_advice_fits_the_verdict(status, trace, advice):
    failed = solution(status, trace=torch.tensor(trace, dtype=F64)[:, None])
    assert advice in describe_failure(failed, what="f")


def test_raise_warn_and_ignore_do_so():
    failed = solution(GOOD, STUCK)
    with pytest.raises(ConvergenceError, match="g: 1 of 2 samples missed"):
        report_failure(failed, what="g", on_failure="raise")
    with pytest.warns(ConvergenceWarning, match="g: samples missed the tolerance"):
        report_failure(failed, what="g", on_failure="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report_failure(failed, what="g", on_failure="ignore")


@pytest.mark.parametrize("on_failure", ["raise", "warn"])
def test_success_is_silent(on_failure):
    report_failure(solution(GOOD, GOOD), what="g", on_failure=on_failure)
    report_failure(solution(), what="g", on_failure=on_failure)


def test_fixed_point_speaks_on_failure():
    f, z0 = (lambda z: 1 - z), torch.zeros(2, 1)
    sentence = r"fixed_point: 2 of 2 samples missed the tolerance .* after 31 steps"
    with pytest.raises(ConvergenceError, match=sentence):
        fixed_point(f, z0, solver=Picard())
    with pytest.warns(ConvergenceWarning, match="fixed_point: samples missed") as caught:
        solution = fixed_point(f, z0, solver=Picard(), on_failure="warn")
    assert re.match(sentence, caught[0].message.details)
    assert solution.status.tolist() == [STUCK, STUCK]
    assert not fixed_point(f, z0, solver=Picard(), on_failure="ignore").converged.any()


def test_a_word_that_is_none_of_the_three_is_refused():
    with pytest.raises(ValueError, match='"raise", "warn" or "ignore", got \'rise\''):
        check_on_failure("rise")


def told(failed, **options):
    """The one warning about a failed solution, or about its accuracy."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if "allowed" in options:
            report_error(failed, **options, what="layer", on_failure="warn")
        else:
            report_failure(failed, what="layer", on_failure="warn")
    (warning,) = caught
    return warning


def slow(factor, batch=2):
    trace = torch.tensor([[factor**k] * batch for k in range(9)], dtype=F64)
    return solution(*[SLOW] * batch, residual=trace[-1].tolist(), trace=trace)


def test_a_warning_says_the_same_whatever_the_numbers_are():
    one, other = told(slow(0.5)), told(slow(0.9, batch=7))
    assert str(one.message) == str(other.message)
    assert "factor" not in str(one.message)
    assert "shrinks by a factor 0.500 per step" in one.message.details
    assert "7 of 7 samples" in other.message.details
    inexact = [
        replace(solution(GOOD), error=torch.tensor([error], dtype=F64)) for error in (0.1, 0.2)
    ]
    one, other = (told(each, allowed=1e-3) for each in inexact)
    assert str(one.message) == str(other.message)
    assert "error 2.0e-01 where 1.0e-03" in other.message.details


STOPPED = Picard(max_steps=3)


@pytest.mark.parametrize("word", ["raise", "warn"])
def test_what_is_raised_or_warned_holds_the_verdicts_but_no_state(word):
    weight = torch.tensor(0.9, requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fixed_point(
                lambda z: weight * z + 1, torch.zeros(2, 1), solver=STOPPED, on_failure=word
            )
        except ConvergenceError as error:
            found = error
        else:
            (found,) = (warning.message for warning in caught)
    assert found.solution.status.tolist() == [SLOW, SLOW]
    assert found.solution.value is None
    for copy in (found, pickle.loads(pickle.dumps(found))):  # as a worker process sends it
        assert str(copy) == str(found)
        assert torch.equal(copy.solution.residual, found.solution.residual)


def test_the_advice_names_only_what_exists():
    names = {"stability.spectral_radius", "nn.SpectralNorm"}
    for status in Status:
        if status != GOOD:
            for trace in ([1.0], [1.0, 0.5, 0.25], [1.0, 1.0, 1.0]):
                failed = solution(status, trace=torch.tensor(trace, dtype=F64)[:, None])
                found = re.findall(r"(?:stability|nn|solvers)\.\w+", str(told(failed).message))
                assert set(found) <= names
    for name in names:
        module, attribute = name.split(".")
        assert hasattr(importlib.import_module(f"deqlab.{module}"), attribute)
