"""rows_independent: finished rows leave the batch, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Status, fixed_point
from deqlab.nn import DenseCell
from tests.contracts.gradients import every_gradient
from tests.contracts.solvers import calls_per_step, every_solver
from tests.problems import F64, assert_verdicts_hold, matrix, normal

RATES = torch.tensor([0.1, 0.9, 0.3, 0.1, 0.8, 0.1, 0.2, 0.1], dtype=F64)[:, None]
W, X = matrix(5, norm=1.0, seed=0), normal(8, 5, seed=1)


def cell(z, w, rates, x):
    return torch.tanh(rates * (z @ w.T) + x)


class Counted:
    """A map that notes how many rows it is called with."""

    def __init__(self, f):
        self.f, self.rows = f, []

    def __call__(self, z, *args):
        self.rows.append(len(z))
        return self.f(z, *args)


def solve(f, solver, x=X, flags=(False, True, True), **options):
    z0 = torch.zeros_like(x)
    return fixed_point(f, z0, W, RATES, x, solver=solver, rows_independent=flags, **options)


@every_solver
@pytest.mark.parametrize("rtol", [1e-3, 1e-10])
def test_every_row_gets_the_answer_that_it_gets_in_the_whole_batch(solver, rtol):
    solver = replace(solver, rtol=rtol, atol=0.0, max_steps=500)
    whole, part = solve(cell, solver, flags=False), solve(cell, solver)
    # 1e-12: a product of fewer rows is summed in another order.
    torch.testing.assert_close(part.value, whole.value, rtol=1e-9, atol=1e-12)
    assert torch.equal(part.status, whole.status)
    assert torch.equal(part.steps, whole.steps)
    torch.testing.assert_close(part.tolerance, whole.tolerance, rtol=1e-9, atol=0)
    assert_verdicts_hold(part, lambda z: cell(z, W, RATES, X), torch.zeros_like(X), solver)


@every_solver
def test_only_rows_that_still_run_are_evaluated(solver):
    solver = replace(solver, rtol=1e-8, atol=0.0, max_steps=500)
    counted = Counted(cell)
    with torch.no_grad():
        solution = solve(counted, solver)
    assert counted.rows == sorted(counted.rows, reverse=True)
    assert len(set(counted.rows)) >= 2
    # At most a quarter of the rows that are carried along have finished.
    wanted = solution.steps.sum().item()
    assert sum(counted.rows) <= calls_per_step(solver) * (wanted + len(X)) / 0.75


@every_solver
def test_the_trace_is_that_of_the_whole_batch_and_stands_still_where_a_row_left(solver):
    solver = replace(solver, rtol=1e-6, atol=0.0, max_steps=500)
    whole, part = solve(cell, solver, flags=False), solve(cell, solver)
    assert part.trace.shape == whole.trace.shape
    torch.testing.assert_close(part.trace, whole.trace, rtol=1e-3, atol=1e-12)
    for row, steps in enumerate(part.steps.tolist()):
        assert (part.trace[steps:, row] == part.trace[steps - 1, row]).all()


@every_gradient
def test_gradients_are_those_of_the_whole_batch(case):
    def gradients(flags):
        x = X.clone().requires_grad_()
        solution = solve(cell, case.solver, x, flags, gradient=case.gradient)
        (solution.value**2).sum().backward()
        return x.grad

    torch.testing.assert_close(
        gradients((False, True, True)), gradients(False), rtol=1e-7, atol=1e-9
    )


@every_solver
def test_a_row_that_fails_leaves_as_well_and_spoils_no_other(solver):
    f = lambda z, w, rates, x: torch.where(x > 1e3, torch.nan, cell(z, w, rates, x))  # noqa: E731
    x = X.clone()
    x[[0, 3, 5]] = 1e4
    solution = solve(f, replace(solver, max_steps=500), x, on_failure="ignore")
    assert solution.status[[0, 3, 5]].tolist() == [Status.NONFINITE] * 3
    assert torch.equal(solution.value[[0, 3, 5]], torch.zeros(3, 5, dtype=F64))
    rest = [1, 2, 4, 6, 7]
    expected = solve(cell, replace(solver, max_steps=500), flags=False).value
    torch.testing.assert_close(solution.value[rest], expected[rest], rtol=1e-9, atol=1e-12)


def test_recorded_states_keep_all_rows():
    solver = Anderson(rtol=1e-8, record=(2, 5, 400))
    whole, part = solve(cell, solver, flags=False), solve(cell, solver)
    for state, expected in zip(part.states, whole.states, strict=True):
        torch.testing.assert_close(state, expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(part.states[2], part.value)


def test_trees_leave_row_by_row():
    z0 = {"a": torch.zeros(8, 5, dtype=F64), "b": torch.zeros(8, 10, dtype=F64)}
    f = lambda s, rates, x: {  # noqa: E731
        "a": torch.tanh(rates * s["b"].sum(1, keepdim=True) / 9 + x),
        "b": rates * torch.cat([s["a"], s["a"].tanh()], 1) / 2,
    }
    whole = fixed_point(f, z0, RATES, X, solver=Anderson(rtol=1e-10))
    part = fixed_point(f, z0, RATES, X, solver=Anderson(rtol=1e-10), rows_independent=True)
    for name in z0:
        torch.testing.assert_close(part.value[name], whole.value[name], rtol=1e-9, atol=1e-12)


def test_an_argument_without_a_row_per_sample_is_refused():
    with pytest.raises(
        ValueError, match=r"args\[0\] of shape \(5, 5\) has not one row for each of"
    ):
        solve(cell, Anderson(), flags=True)
    with pytest.raises(ValueError, match="has 1 flags for 3 args"):
        solve(cell, Anderson(), flags=(True,))


def test_a_map_that_draws_random_numbers_is_refused():
    drop = nn.Dropout(0.5)
    with pytest.raises(ValueError, match="f draws random numbers"):
        solve(lambda z, w, rates, x: cell(drop(z), w, rates, x), Anderson())


def test_a_layer_lets_its_rows_leave():
    torch.manual_seed(0)
    inner = DenseCell(5, 6, activation=torch.tanh, gain=0.9).double()
    x = torch.cat([X, torch.zeros(8, 5, dtype=F64)])
    plain, leaving = DEQ(inner), DEQ(inner, rows_independent=True)
    torch.testing.assert_close(leaving(x), plain(x), rtol=1e-9, atol=1e-12)
    assert "rows_independent=True" in repr(leaving)


def test_a_cell_that_does_not_know_its_rows_is_refused():
    class Unknown(DenseCell):
        row_args = None

    with pytest.raises(ValueError, match="Unknown does not say which of its args"):
        DEQ(Unknown(2, 3), rows_independent=True)
