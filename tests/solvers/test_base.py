"""The settings all solvers share, and the numbers of their verdicts."""

import dataclasses

import pytest
import torch

from deqlab import Anderson, Picard, Status, fixed_point
from tests.problems import F64, normal, recompute


@pytest.mark.parametrize("solver", [Picard, Anderson])
@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("rtol", -1e-3, "rtol must be 0 or more, and finite, got -0.001"),
        ("rtol", float("nan"), "rtol must be 0 or more, and finite, got nan"),
        ("atol", float("inf"), "atol must be 0 or more, and finite, got inf"),
        ("max_steps", 0, "max_steps must be at least 1, got 0"),
        ("patience", 0, "patience must be at least 1, got 0"),
    ],
)
def test_a_setting_outside_its_domain_is_refused_with_its_value(solver, setting, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        solver(**{setting: value})


@pytest.mark.parametrize("solver", [Picard(), Anderson()])
def test_a_solver_is_a_value(solver):
    assert solver == dataclasses.replace(solver)
    assert hash(solver) == hash(dataclasses.replace(solver))
    with pytest.raises(dataclasses.FrozenInstanceError):
        solver.rtol = 1.0


def test_the_tolerance_reported_is_the_formula():
    # From 100 the image is 50, so |z0| sets the scale, and near the solution |f(z)| does.
    f, solver = (lambda z: 0.5 * z + 1), Picard(rtol=1e-3, atol=1e-5)
    z0 = torch.full((1, 1), 100.0, dtype=F64)
    solution = fixed_point(f, z0, solver=solver)
    residual, tolerance = recompute(f, z0, solution.value, solver)
    torch.testing.assert_close(solution.tolerance, tolerance[:, 0], rtol=1e-12, atol=0)
    torch.testing.assert_close(solution.residual, residual[:, 0], rtol=1e-12, atol=0)


def test_the_tolerance_does_not_grow_with_an_iterate_beyond_ten_times_the_start():
    # z* = 100 from |f(z0)| = 1: relative to |f(z*)| the tolerance would be 10 times larger.
    f, solver = (lambda z: 0.99 * z + 1), Picard(rtol=1e-2, atol=0.0, max_steps=500)
    solution = fixed_point(f, torch.zeros(1, 1, dtype=F64), solver=solver)
    assert solution.tolerance.item() == pytest.approx(0.1)
    # The residual is 0.99^k, so that the first k below 0.1 is known.
    assert solution.residual.item() == pytest.approx(0.1, rel=1e-2)
    assert solution.residual <= 0.1


def test_the_tolerance_of_several_blocks_is_the_root_of_the_sum_of_squares():
    f = lambda s: (0.5 * s[0] + 1, 0.2 * s[1] + 30)  # noqa: E731
    z0 = (torch.zeros(2, 3, dtype=F64), torch.zeros(2, 1, dtype=F64))
    solver = Picard(rtol=1e-4)
    solution = fixed_point(f, z0, solver=solver)
    residual, tolerance = recompute(f, z0, solution.value, solver)
    torch.testing.assert_close(solution.tolerance, tolerance.norm(dim=1), rtol=1e-9, atol=0)
    torch.testing.assert_close(solution.residual, residual.norm(dim=1), rtol=1e-9, atol=0)


def test_repr_counts_the_verdicts():
    rates = torch.tensor([[0.5], [2.0]], dtype=F64)
    solution = fixed_point(
        lambda z: rates * z + 1, torch.zeros(2, 1, dtype=F64), solver=Picard(), on_failure="ignore"
    )
    text = repr(solution)
    assert "1 CONVERGED, 1 DIVERGED" in text
    assert f"{solution.evaluations} evaluations" in text
    empty = fixed_point(lambda z: z, torch.zeros(0, 1, dtype=F64))
    assert repr(empty) == "Solution(no samples; worst residual none; 1 evaluations)"


def test_f_that_writes_to_its_argument_is_refused():
    def f(z):
        z *= 0.5
        return z

    with pytest.raises(ValueError, match="f wrote to z in place"):
        fixed_point(f, normal(2, 3, seed=0))


@pytest.mark.parametrize("word", ["rise", "", "RAISE"])
def test_an_unknown_on_failure_is_refused(word):
    # In tests beartype speaks first; both name the word.
    with pytest.raises(Exception, match=repr(word)):
        fixed_point(lambda z: z, torch.zeros(1, 1), on_failure=word)


def scripted(residuals):
    """A map whose k-th call has these residuals, whatever z is: one list per row."""
    calls = iter(zip(*residuals, strict=True))
    return lambda z: z + torch.tensor(next(calls), dtype=z.dtype)[:, None]


def test_a_row_that_runs_out_of_steps_took_them_all():
    solution = Picard(max_steps=5).solve(lambda z: 0.9 * z + 1, torch.zeros(2, 3, dtype=F64))
    assert solution.status.tolist() == [Status.MAX_STEPS] * 2
    assert solution.steps.tolist() == [5, 5]


def test_a_verdict_stands_although_the_map_would_now_give_a_better_one():
    # A noisy f: the first row stagnates at its second call, and would improve at the third.
    # The fifth is of the value, for its rows are best at different steps.
    f = scripted([[1.0, 1.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.25, 0.125, 0.125]])
    solution = Picard(max_steps=4, patience=1, rtol=0.0).solve(f, torch.zeros(2, 1, dtype=F64))
    assert solution.status.tolist() == [Status.STAGNATED, Status.MAX_STEPS]
    assert solution.residual.tolist() == [1.0, 0.125]
    assert solution.steps.tolist() == [2, 4]
