"""rows_independent: finished rows leave the batch, and nothing else changes."""

from contextlib import nullcontext, suppress
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deqlab import DEQ, Anderson, Auto, Newton, Picard, Status, fixed_point
from deqlab.nn import DenseCell, Prepared
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


def test_rows_in_containers_of_args_leave_with_theirs():
    f = lambda z, held, rates: cell(z, W, rates[0], held["x"][1])  # noqa: E731
    args = ({"x": (None, X), "name": "x"}, [RATES])
    part = fixed_point(f, torch.zeros_like(X), *args, rows_independent=True)
    whole = solve(cell, Anderson(), flags=False)
    assert torch.equal(part.steps, whole.steps)
    torch.testing.assert_close(part.value, whole.value, rtol=1e-9, atol=1e-12)


def test_rows_of_an_array_leave_with_theirs():
    f = lambda z, rates: cell(z, W, torch.from_numpy(rates), torch.ones(5, dtype=F64))  # noqa: E731
    part, whole = (
        fixed_point(f, torch.zeros_like(X), RATES.numpy(), rows_independent=flag).value
        for flag in (True, False)
    )
    torch.testing.assert_close(part, whole, rtol=1e-9, atol=1e-12)


def test_a_container_with_a_tensor_of_other_length_is_refused_by_its_place():
    f = lambda z, held: cell(z, held["w"], RATES, X)  # noqa: E731
    with pytest.raises(ValueError, match=r"args\[0\]\['w'\] of shape \(5, 5\) has not one row"):
        fixed_point(f, torch.zeros_like(X), {"w": W}, rows_independent=True)


SQUARE = normal(8, 8, seed=3)  # as many samples as numbers in each


def shared(f, *args, flags=True, **options):
    z0 = torch.zeros_like(SQUARE)
    return fixed_point(f, z0, *args, solver=Anderson(rtol=1e-10), rows_independent=flags, **options)


@pytest.mark.parametrize("gain", [torch.linspace(-1, 1, 8, dtype=F64), matrix(8, norm=0.9, seed=4)])
@pytest.mark.parametrize("solver", [Anderson(), Newton(), Auto(), Picard()], ids=repr)
def test_a_shared_tensor_with_as_many_entries_as_rows_is_found(gain, solver):
    f = lambda z, rates, gain, x: torch.tanh(rates * z + x) @ torch.diag_embed(gain)[..., :8, :8]  # noqa: E731
    if gain.ndim == 2:
        f = lambda z, rates, gain, x: torch.tanh(rates * z @ gain + x)  # noqa: E731
    args = (0.9 * RATES, gain, SQUARE)
    with pytest.raises(
        ValueError, match=r"rows is not what it is .*args\[1\] has as many entries as"
    ):
        shared(f, *args)
    with pytest.raises(ValueError, match=r"pass rows_independent=\(True, False, True\)"):
        shared(f, *args)
    part, whole = shared(f, *args, flags=(True, False, True)), shared(f, *args, flags=False)
    torch.testing.assert_close(part.value, whole.value, rtol=1e-8, atol=1e-10)


def test_two_shared_tensors_are_both_named():
    gain, shift = normal(8, seed=5), normal(8, seed=6)
    f = lambda z, rates, gain, shift: torch.tanh(rates * z * gain.tanh() + shift)  # noqa: E731
    with pytest.raises(ValueError, match=r"args\[1\], args\[2\] has .*=\(True, False, False\)"):
        shared(f, RATES, gain, shift)


HIDDEN = {
    "closure": lambda z, rates, x: torch.tanh(rates * z + SQUARE),
    "another row": lambda z, rates, x: rates * torch.tanh(z) + 0.5 * z[:1].tanh() + x,
    "batch norm of an arg": lambda z, rates, x: (
        rates * torch.tanh(z) + nn.functional.batch_norm(x, None, None, training=True)
    ),
    "mean over samples": lambda z, rates, x: rates * torch.tanh(z) + x - x.mean(0),
}


@pytest.mark.parametrize("f", HIDDEN.values(), ids=HIDDEN)
def test_rows_that_cannot_leave_are_refused(f):
    with pytest.raises(ValueError, match=r"either a row of f depends on other rows .* in a clos"):
        shared(f, RATES, SQUARE)


def test_an_error_of_f_itself_stays_what_it_is():
    def f(z, rates, x):
        if len(z) < 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tanh(rates * z + x)

    with pytest.raises(torch.OutOfMemoryError):
        shared(f, RATES, SQUARE)


@every_solver
def test_rows_are_compared_once_a_solve(solver):
    solver = replace(solver, rtol=1e-8, atol=0.0, max_steps=500)
    calls = {flags: Counted(cell) for flags in (True, False)}
    with torch.no_grad():
        part = solve(calls[True], solver)
        whole = solve(calls[False], solver, flags=False)
    assert part.evaluations == whole.evaluations
    assert len(calls[True].rows) == len(calls[False].rows) + 1


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_any_arrangement_of_rows_gives_the_answer_of_the_whole_batch_or_a_sentence(data):
    batch, dim = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 6))
    seed = data.draw(st.integers(0, 2**31))
    rates = torch.linspace(0.05, 0.8, batch, dtype=F64)[:, None]
    x, w = normal(batch, dim, seed=seed), matrix(dim, norm=1.0, seed=seed + 1)
    flags = data.draw(st.tuples(*[st.booleans()] * 3))
    wrapped = data.draw(st.sampled_from(["plain", "tuple", "dict"]))
    wrap = {"plain": lambda t: t, "tuple": lambda t: (t,), "dict": lambda t: {"t": t}}[wrapped]
    open_up = {"plain": lambda t: t, "tuple": lambda t: t[0], "dict": lambda t: t["t"]}[wrapped]
    f = lambda z, rates, w, x: torch.tanh(rates * (z @ open_up(w)) + open_up(x))  # noqa: E731
    options = {"solver": Picard(rtol=1e-9), "on_failure": "raise"}
    args = (torch.zeros(batch, dim, dtype=F64), rates, wrap(w), wrap(x))
    whole = fixed_point(f, *args, **options)
    right = flags == (True, False, True)
    with nullcontext() if right else suppress(ValueError):
        part = fixed_point(f, *args, rows_independent=flags, **options)
        torch.testing.assert_close(part.value, whole.value, rtol=1e-7, atol=1e-9)


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
        def prepare(self, x):
            prepared = super().prepare(x)
            return Prepared(shared=(prepared.shared, prepared.rows))

        def update(self, z, shared, rows):
            return super().update(z, *shared)

    x = torch.zeros(4, 2)
    assert DEQ(Unknown(2, 3))(x).shape == (4, 3)
    with pytest.raises(ValueError, match=r"Unknown\.prepare does not say what has a row per"):
        DEQ(Unknown(2, 3), rows_independent=True)(x)
