"""Reversed: the derivative of the steps of Reversible, against the tape through all of them.

z = wz + x from z = 0 is after k steps (1 - r_k) x / (1 - w), with r_k = (0, 1) M^k (1, 1)' and M as
in tests/solvers/test_reversible.py. So dz/dx = (1 - r_k) / (1 - w).
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deqlab import ConvergenceError, ConvergenceWarning, Status, fixed_point
from deqlab.costs import peak_memory
from deqlab.gradients import Unrolled
from deqlab.gradients.reversible import Reversed
from deqlab.solvers import Anderson, Picard
from deqlab.solvers.reversible import Reversible
from tests.contracts.dense import relative_error, tanh_gradients
from tests.problems import F64, matrix, normal, symmetric_with

W, X, U = matrix(5, norm=0.5, seed=0), normal(4, 5, seed=1), normal(4, 5, seed=2)
ALL_STEPS = {"rtol": 0.0, "atol": 0.0, "patience": 1000}


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def solve(gradient, solver, f=cell, *args, z0=None, on_failure="ignore", **options):
    z0 = torch.zeros_like(X, dtype=args[-1].dtype) if z0 is None else z0
    return fixed_point(
        f, z0, *args, solver=solver, gradient=gradient, on_failure=on_failure, **options
    )


def gradients(gradient, solver, f=cell, tensors=(W, X), u=U, **options):
    inputs = leaves(*tensors)
    solution = solve(gradient, solver, f, *inputs, **options)
    return solution, torch.autograd.grad(solution.value, inputs, u.to(solution.value.dtype))


def assert_equal_to_unrolled(solver, f=cell, tensors=(W, X), u=U, **options):
    """1e-10, relative to the gradient: what is asked of both."""
    reverse, got = gradients(Reversed(), solver, f, tensors, u, **options)
    unrolled, expected = gradients(Unrolled(), solver, f, tensors, u, **options)
    assert torch.equal(reverse.value, unrolled.value)
    assert reverse.status.tolist() == unrolled.status.tolist()
    for a, b in zip(got, expected, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()
    return reverse


# The same derivative as the tape


@pytest.mark.parametrize("damping", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("max_steps", [2, 3, 7, 12])
def test_a_truncated_solve_has_the_gradient_of_its_tape(max_steps, damping):
    solver = Reversible(damping=damping, max_steps=max_steps, **ALL_STEPS)
    solution = assert_equal_to_unrolled(solver)
    assert solution.status.tolist() == [Status.MAX_STEPS] * 4


@pytest.mark.parametrize("rtol", [1e-3, 1e-4])
def test_a_converged_solve_has_the_gradient_of_its_tape(rtol):
    # Rates from easy to hard: each row takes another number of steps.
    rates = torch.tensor([[0.1], [1.8], [1.2], [-0.7]], dtype=F64)
    f = lambda z, w, x: rates * (z.sin() @ w.T) + x  # noqa: E731
    solution = assert_equal_to_unrolled(Reversible(rtol=rtol), f)
    assert solution.converged.all()
    assert len(set(solution.steps.tolist())) >= 3


def test_rows_that_ran_out_and_rows_that_converged_have_the_gradients_of_their_tapes():
    rates = torch.tensor([[0.1], [3.0], [1.8], [0.0]], dtype=F64)
    f = lambda z, w, x: rates * (z.sin() @ w.T) + x  # noqa: E731
    solution = assert_equal_to_unrolled(Reversible(rtol=1e-2, max_steps=10), f)
    assert set(solution.status.tolist()) == {Status.CONVERGED, Status.MAX_STEPS}


def test_a_row_whose_best_iterate_is_not_its_last_is_differentiated_there():
    # z -> 2 sin 3z wanders.
    f = lambda z, w, x: 2 * torch.sin(3 * z) + w * x  # noqa: E731
    w, x, u = normal(12, 1, seed=3), normal(12, 1, seed=4), normal(12, 1, seed=5)
    solver = Reversible(max_steps=6, **ALL_STEPS)
    solution = assert_equal_to_unrolled(solver, f, (w, x), u, z0=normal(12, 1, seed=8))
    best = solution.trace.argmin(dim=0)
    assert ((best > 0) & (best < 5)).sum() >= 3


def test_a_row_that_diverges_is_differentiated_at_its_best_iterate():
    # 1 + z + z^2 / 50 leaves 3 slowly, then fast: the residual 1 + z^2 / 50 is least at the start
    # of row 0, and near zero, on the way, in row 1.
    f = lambda z, x: x + z + z**2 / 50  # noqa: E731
    z0 = torch.tensor([[3.0], [-4.0]], dtype=F64)
    x, u = torch.ones(2, 1, dtype=F64), torch.ones(2, 1, dtype=F64)
    solver = Reversible(max_steps=500, rtol=1e-9, damping=0.7)
    inputs = leaves(x)
    solution = solve(Reversed(), solver, f, *inputs, z0=z0)
    expected = solve(Unrolled(), replace(solver, max_steps=7), f, *leaves(x), z0=z0)
    assert solution.status.tolist() == [Status.DIVERGED] * 2 or not solution.converged.any()
    assert solution.trace.argmin(dim=0)[0] == 0
    assert 0 < solution.trace.argmin(dim=0)[1] < 6
    assert torch.equal(solution.value, expected.value)
    (by_x,) = torch.autograd.grad(solution.value, inputs, u)
    reference = leaves(x)
    (wanted,) = torch.autograd.grad(
        solve(Unrolled(), replace(solver, max_steps=7), f, *reference, z0=z0).value, reference, u
    )
    torch.testing.assert_close(by_x, wanted, rtol=1e-10, atol=1e-12)
    assert by_x[0] == 0


@pytest.mark.parametrize("w", [0.8, -0.5, 0.0])
@pytest.mark.parametrize("damping", [0.3, 0.6])
def test_the_gradient_of_the_scalar_map_is_its_closed_form(w, damping):
    steps = 9
    solver = Reversible(damping=damping, max_steps=steps + 1, **ALL_STEPS)
    x = torch.tensor([[2.0]], dtype=F64, requires_grad=True)
    value = solve(Reversed(), solver, lambda z, x: w * z + x, x, z0=torch.zeros_like(x)).value
    b = damping
    m = np.array([[1 - b, b * w], [b * (1 - b) * w, 1 - b + b**2 * w**2]])
    exact = (1 - (np.linalg.matrix_power(m, steps) @ [1, 1])[1]) / (1 - w)
    value.backward()
    assert value.item() == pytest.approx(2 * exact, rel=1e-13)
    assert x.grad.item() == pytest.approx(exact, rel=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    solver = Reversible(max_steps=5, **ALL_STEPS)
    run = lambda w, x: solve(Reversed(), solver, cell, w, x).value  # noqa: E731
    assert torch.autograd.gradcheck(run, leaves(W, X))


@pytest.mark.parametrize("kind", ["dict", "tuple"])
def test_a_tree_has_the_gradient_of_its_tape(kind):
    def f(state, w, x):
        a, b = state.values() if kind == "dict" else state
        a, b = (
            torch.tanh(a @ w.T + 0.2 * b.mean((1, 2))[:, None] + x),
            0.3 * (b.sin() + a[:, :2, None]),
        )
        return {"a": a, "b": b} if kind == "dict" else (a, b)

    z0 = {"a": torch.zeros(4, 5, dtype=F64), "b": torch.zeros(4, 2, 3, dtype=F64)}
    z0 = z0 if kind == "dict" else tuple(z0.values())

    def run(gradient):
        inputs = leaves(W, X)
        value = solve(gradient, Reversible(rtol=1e-4), f, *inputs, z0=z0).value
        parts = list(value.values()) if kind == "dict" else list(value)
        return torch.autograd.grad(sum(part.square().sum() for part in parts), inputs)

    # Converged to 1e-4, so that drift leaves 1e-10.
    torch.testing.assert_close(run(Reversed()), run(Unrolled()), rtol=1e-10, atol=1e-10)


def test_parameters_closures_and_results_get_the_gradient_that_arguments_get():
    solver = Reversible(max_steps=7, **ALL_STEPS)
    _, (by_w, by_x) = gradients(Reversed(), solver)
    module, x = nn.Linear(5, 5, bias=False, dtype=F64), X.clone().requires_grad_()
    with torch.no_grad():
        module.weight.copy_(W)
    doubled = 2 * x
    f = lambda z: torch.tanh(module(z) + doubled / 2)  # noqa: E731
    solve(Reversed(), solver, f, z0=torch.zeros_like(X)).value.backward(U)
    torch.testing.assert_close(module.weight.grad, by_w, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(x.grad, by_x, rtol=1e-12, atol=1e-13)


def test_a_tensor_used_as_argument_and_in_a_closure_gets_both_parts():
    solver = Reversible(max_steps=7, **ALL_STEPS)
    _, (_, expected) = gradients(Reversed(), solver)
    (x,) = leaves(X)
    f = lambda z, y: torch.tanh(z @ W.T + y / 4 + 3 * x / 4)  # noqa: E731
    solve(Reversed(), solver, f, x).value.backward(U)
    torch.testing.assert_close(x.grad, expected, rtol=1e-12, atol=1e-13)


def test_an_argument_that_is_a_result_passes_its_gradient_on_and_an_ignored_one_has_none():
    x, unused = leaves(X, X)
    y = x.sin()
    y.retain_grad()
    f = lambda z, y, unused: cell(z, W, y)  # noqa: E731
    solver = Reversible(max_steps=7, **ALL_STEPS)
    solve(Reversed(), solver, f, y, unused).value.backward(U)
    torch.testing.assert_close(x.grad, y.grad * X.cos(), rtol=1e-12, atol=0)
    assert unused.grad is None


@pytest.mark.parametrize("max_steps", [1, 5])
def test_a_value_that_is_the_start_has_a_gradient_of_zero(max_steps):
    w, x = leaves(W, X)
    start = fixed_point(cell, torch.zeros_like(X), W, X, solver=Anderson(rtol=1e-12)).value
    solver = Reversible(max_steps=max_steps)
    value = solve(Reversed(), solver, cell, w, x, z0=start).value
    assert torch.equal(value, start)
    value.backward(U)
    assert torch.equal(x.grad, torch.zeros_like(X))
    assert torch.equal(w.grad, torch.zeros_like(W))


def test_steps_that_were_taken_on_the_spot_have_the_gradient_of_their_tape():
    # A warm start at the very fixed point, and min_steps for the sake of the gradient.
    f = lambda z, w, x: w * z + x  # noqa: E731
    tensors = (torch.tensor([[0.5]], dtype=F64), torch.ones(1, 1, dtype=F64))
    start, u = torch.tensor([[2.0]], dtype=F64), torch.ones(1, 1, dtype=F64)
    solver = Reversible(min_steps=4)
    solution = assert_equal_to_unrolled(solver, f, tensors, u, z0=start)
    assert torch.equal(solution.value, start)
    _, (by_w, _) = gradients(Reversed(), solver, f, tensors, u, z0=start)
    assert by_w != 0


# Memory and evaluations


def training_step(gradient, max_steps):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(40, 40, dtype=F64), nn.Tanh())
    x = normal(16, 40, seed=6)
    solver = Reversible(max_steps=max_steps, **ALL_STEPS)
    f = lambda z: 0.9 * module(z) + x  # noqa: E731

    def run():
        solve(gradient, solver, f, z0=torch.zeros_like(x)).value.square().sum().backward()

    return peak_memory(run, [x, *module.parameters()])


@pytest.mark.slow
def test_the_memory_does_not_grow_while_rounding_leaves_the_states_known():
    few, many = (training_step(Reversed(), steps) for steps in (5, 18))  # 17 can be taken back
    # The trace: one number a row and a step, on the host and twice on the way.
    assert many - few <= 2 * 13 * 16 * 8
    unrolled = training_step(Unrolled(), 18) - training_step(Unrolled(), 5)
    assert unrolled >= 13 * 2 * 16 * 40 * 8  # two states a step at least


@pytest.mark.slow
def test_a_long_solve_holds_a_pair_of_states_every_seventeen_steps():
    # After 2 times 17 steps one pair is kept, and after 4 times 17 three are.
    few, many = (training_step(Reversed(), steps) for steps in (1 + 2 * 17, 1 + 4 * 17))
    pairs, trace = 2 * 2 * 16 * 40 * 8, 2 * 17 * 16 * 8
    assert pairs <= many - few <= pairs + 2 * trace


@pytest.mark.parametrize(
    ("damping", "rtol", "every"), [(0.5, 1e-5, 17), (0.5, 1e-10, 9), (0.8, 1e-5, 7), (0.3, 0.0, 1)]
)
def test_a_pair_is_kept_every_so_many_steps_as_the_accuracy_and_the_damping_allow(
    damping, rtol, every
):
    # The most k for which 2.2e-16 / (1 - b)^(2 k) is below rtol.
    if rtol:
        assert (
            2.2e-16 / (1 - damping) ** (2 * every)
            <= rtol
            < 2.3e-16 / (1 - damping) ** (2 * every + 2)
        )

    def saved(updates, **changes):
        kept = []
        solver = Reversible(damping=damping, max_steps=updates + 1, **ALL_STEPS, **changes)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            solve(Reversed(rtol=rtol), solver, cell, *leaves(W, X))
        return len(kept)

    none = saved(1)
    assert saved(every) == none
    assert saved(every + 1) == none + 2
    assert saved(3 * every) == none + 4
    assert saved(3 * every + 1) == none + 6
    assert saved(9, keep_every=4) == none + 4
    assert saved(9, keep_every=100) == none


def test_the_way_back_evaluates_f_twice_a_step_and_the_way_there_only_once_with_a_tape():
    taped = []

    def f(z, x):
        taped.append(torch.is_grad_enabled())
        return cell(z, W, x)

    (x,) = leaves(X)
    solution = solve(Reversed(), Reversible(max_steps=6, **ALL_STEPS), f, x)
    assert taped == [True] + [False] * 10
    assert solution.evaluations == 11
    solution.value.backward(U)
    assert taped[11:] == [True] * 10


# Precision


def test_a_map_in_float32_has_the_gradient_of_float64_at_30_steps():
    # b = 1/2, |W| = 0.5: rounding of f alone. Measured: 2e-7.
    solver = Reversible(damping=0.5, max_steps=30, **ALL_STEPS)
    solution, got = gradients(Reversed(), solver, tensors=(W.float(), X.float()))
    assert solution.value.dtype == got[0].dtype == got[1].dtype == torch.float32
    _, expected = gradients(Unrolled(), solver)
    for a, b in zip(got, expected, strict=True):
        assert (a.double() - b).norm() <= 1e-5 * b.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("max_steps", [6, 100])
def test_verdicts_hold_for_the_rounded_value(dtype, max_steps):
    rtol = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    w, x = W.to(dtype), X.to(dtype)
    solver = Reversible(rtol=rtol, atol=0.0, max_steps=max_steps, record=(2, 6))
    solution = solve(Reversed(), solver, cell, w, x)
    value, image = solution.value, cell(solution.value, w, x)
    assert value.dtype == dtype
    assert {state.dtype for state in solution.states} == {dtype}
    residual = (image.double() - value.double()).norm(dim=1)
    torch.testing.assert_close(solution.residual, residual, rtol=1e-12, atol=0)
    assert torch.equal(solution.converged, residual <= solution.tolerance)
    assert solution.converged.all() == (max_steps == 100)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_in_low_precision_are_right_to_a_few_per_cent(dtype):
    solver, tensors = Reversible(max_steps=12, **ALL_STEPS), (W.to(dtype), X.to(dtype))
    _, got = gradients(Reversed(), solver, tensors=tensors)
    _, expected = gradients(Unrolled(), solver, tensors=[t.double() for t in tensors])
    for a, b in zip(got, expected, strict=True):
        assert (a.double() - b).norm() <= 0.05 * b.norm()


@pytest.mark.parametrize("damping", [0.3, 0.5])
@pytest.mark.parametrize("j", [0.1, 0.5, 0.9])
def test_steps_back_amplify_rounding_by_the_smaller_root(j, damping):
    # The drift of a start of size one: 1e-16 / m^k, where 1e-13 to 1e-5 of it is read off.
    f = lambda z, x: j * z + x  # noqa: E731
    roots = np.roots([1, -(2 * (1 - damping) + damping**2 * j**2), (1 - damping) ** 2])
    m = min(abs(roots))
    steps = int(np.log(1e8) / -np.log(m))
    z, x = normal(200, 1, seed=7), normal(200, 1, seed=8)
    y, start = z, z
    for _ in range(steps):
        y = torch.lerp(y, f(z, x), damping)
        z = torch.lerp(z, f(y, x), damping)
    for _ in range(steps):
        z = (z - damping * f(y, x)) / (1 - damping)
        y = (y - damping * f(z, x)) / (1 - damping)
    drift = (z - start).abs().median().item()
    assert 0.05 < drift / (1e-16 * m**-steps) < 20


def per_row(z, w, x):
    return torch.tanh(torch.einsum("bd,bed->be", z, w) + x)


def counted(f):
    """f, and the list of the states that it was evaluated at."""
    calls = []
    return (lambda z, *args: (calls.append(z), f(z, *args))[1]), calls


def backward_evaluations(solution, calls, *inputs, u=U):
    """The gradients, and how often f was evaluated for them."""
    calls.clear()
    return torch.autograd.grad(solution.value, inputs, u), len(calls)


@pytest.mark.parametrize("damping", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("norm", [0.5, 0.95])
@pytest.mark.parametrize("rtol", [1e-3, 1e-9, 1e-12])
def test_every_sample_has_its_accuracy_however_many_steps_were_taken(rtol, norm, damping):
    w = symmetric_with([norm, norm / 2, -norm / 2, -norm, 0.0], seed=9)
    tensors = (w.expand(4, 5, 5).contiguous(), X)
    solver = Reversible(damping=damping, max_steps=60, **ALL_STEPS)
    f, calls = counted(per_row)
    inputs = leaves(*tensors)
    solution = solve(Reversed(rtol=rtol), solver, f, *inputs)
    got, evaluations = backward_evaluations(solution, calls, *inputs)
    _, expected = gradients(Unrolled(), solver, per_row, tensors)
    for a, b in zip(got, expected, strict=True):
        error = (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
        assert (error <= rtol).all()
    # A contraction loses no more on the way than the distance of the pairs was chosen for.
    assert evaluations == 2 * solution.trace.argmin(dim=0).max()


@pytest.mark.parametrize("damping", [0.3, 0.5, 0.8])
def test_hundreds_of_steps_have_the_closed_form_of_the_scalar_map(damping):
    w, x, steps = 0.98, 2.0, 250

    def after(w):
        """z after the steps, by powers of the step matrix."""
        b = damping
        m = np.array([[1 - b, b * w], [b * (1 - b) * w, 1 - b + b**2 * w**2]])
        return (1 - (np.linalg.matrix_power(m, steps) @ [1, 1])[1]) * x / (1 - w)

    # The complex step: h = 1e-30 leaves no error of differencing.
    by_x, by_w = after(w) / x, after(w + 1e-30j).imag / 1e-30
    inputs = [torch.tensor([[v]], dtype=F64, requires_grad=True) for v in (w, x)]
    solver = Reversible(damping=damping, max_steps=steps + 1, **ALL_STEPS)
    f = lambda z, w, x: w * z + x  # noqa: E731
    value = solve(Reversed(rtol=1e-9), solver, f, *inputs, z0=torch.zeros(1, 1, dtype=F64)).value
    value.backward()
    assert [t.grad.item() for t in inputs] == pytest.approx([by_w, by_x], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("damping", [0.3, 0.5, 0.8])
def test_a_long_solve_has_the_gradient_of_the_fixed_point_and_warns_of_nothing(damping):
    w = symmetric_with([0.95, 0.4, -0.4, -0.9, 0.0], seed=9)
    inputs = leaves(w, X / 10)  # small: tanh hardly bends, and J keeps its eigenvalue of 0.95
    solver = Reversible(damping=damping, rtol=1e-11, max_steps=2000)
    solution = solve(Reversed(), solver, cell, *inputs, on_failure="raise")
    assert solution.steps.max() > 200
    got = torch.autograd.grad(solution.value, inputs, U)
    _, by_x, by_w = tanh_gradients(*inputs, U)
    for a, b in zip(got, (by_w, by_x), strict=True):
        # 1e-11 of residual is 2e-10 of value, and 4e-9 of the derivative: 1 / (1 - 0.95) each time.
        assert relative_error(a, b) <= 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_long_solve_in_low_precision_is_as_exact_as_its_arithmetic(dtype):
    # Rounding of f moves the states by far more than 1e-16 when one comes back beside the value
    # that f saw: with 64 numbers a row that happens, and the steps are computed again.
    w, x, u = matrix(64, norm=0.95, seed=13), normal(16, 64, seed=14), normal(16, 64, seed=15)
    solver = Reversible(max_steps=150, **ALL_STEPS)
    tensors = [t.to(dtype) for t in (w, x)]
    _, got = gradients(Reversed(), solver, tensors=tensors, u=u, z0=torch.zeros_like(tensors[1]))
    wide = [t.double() for t in tensors]
    _, expected = gradients(Unrolled(), solver, tensors=wide, u=u, z0=torch.zeros_like(x))
    for a, b in zip(got, expected, strict=True):
        # A sum of two products for each of the 20 steps or so that matter, each rounded.
        assert (a.double() - b).norm() <= 10 * torch.finfo(dtype).eps * b.norm()


# Steps that are computed again


@pytest.mark.parametrize(("keep_every", "accuracy"), [(None, None), (1000, 1e-13)])
def test_an_iteration_that_expands_on_its_way_has_the_gradient_of_its_fixed_point(
    keep_every, accuracy
):
    # Logistic growth, r z (1 - z), ends at 1 - 1 / r. f' is 2.9 where the first row starts, where a
    # step back amplifies rounding 36-fold, and -0.9 where it ends.
    r = torch.tensor([[2.9], [2.5], [1.5]], dtype=F64, requires_grad=True)
    z0 = torch.tensor([[1e-3], [0.9], [1e-2]], dtype=F64)
    solver = Reversible(rtol=1e-9, max_steps=400, patience=100, keep_every=keep_every)
    f = lambda z, r: r * z * (1 - z)  # noqa: E731
    solution = solve(Reversed(rtol=accuracy), solver, f, r, z0=z0, on_failure="raise")
    assert solution.steps.max() > 100
    solution.value.sum().backward()
    # The derivative of the steps is that of the end to the 1e-9 of the residual, times 10 each for
    # value and derivative.
    torch.testing.assert_close(r.grad, r.detach() ** -2, rtol=1e-7, atol=0)


def test_steps_that_do_not_come_back_are_computed_again_from_the_pair_before():
    f, calls = counted(cell)
    (x,) = leaves(X)
    solver = Reversible(max_steps=81, keep_every=40, **ALL_STEPS)
    solution = solve(Reversed(), solver, f, 1.9 * W, x, z0=torch.zeros_like(X))
    ended = solution.trace.argmin(dim=0)
    assert ended.max() > 50
    (got,), evaluations = backward_evaluations(solution, calls, x)
    (reference,) = leaves(X)
    solve(Unrolled(), solver, cell, 1.9 * W, reference).value.backward(U)
    torch.testing.assert_close(got, reference.grad, rtol=1e-12, atol=1e-13)
    # Back a part of the way, and all of it once more: forward, and back.
    steps = 2 * int(ended.max())
    assert 2 * steps < evaluations < 3 * steps


def test_steps_that_come_back_nearly_but_not_as_asked_are_computed_again():
    # 24 steps at norm 0.9: the states come back to 1e-5, and the gradient would be off by 1e-7.
    w = symmetric_with([0.9, 0.45, -0.45, -0.9, 0.0], seed=9)
    tensors = (w.expand(4, 5, 5).contiguous(), X)
    solver = Reversible(max_steps=25, keep_every=24, **ALL_STEPS)
    _, expected = gradients(Unrolled(), solver, per_row, tensors)

    def error(rtol):
        f, calls = counted(per_row)
        inputs = leaves(*tensors)
        solution = solve(Reversed(rtol=rtol), solver, f, *inputs)
        got, evaluations = backward_evaluations(solution, calls, *inputs)
        gaps = [(a - b).norm() / b.norm() for a, b in zip(got, expected, strict=True)]
        return max(gaps).item(), evaluations

    loose, once = error(1e-4)
    close, again = error(1e-9)
    assert once == 2 * 24
    assert again == 3 * once
    assert 1e-10 < loose < 1e-4
    assert close < 1e-14


def test_the_way_back_stops_before_the_states_leave_where_f_can_be_evaluated():
    def f(z, w, x):
        if z.abs().max() > 2:
            raise ArithmeticError("outside of the domain of f")
        return torch.tanh(z @ w.T + x)

    solver = Reversible(damping=0.8, max_steps=101, keep_every=1000, **ALL_STEPS)
    assert_equal_to_unrolled(solver, f, (1.9 * W, X))


@pytest.mark.slow
def test_a_row_with_many_steps_and_rows_with_few_have_the_gradients_of_their_tapes():
    rates = torch.tensor([[0.2], [0.99], [0.1]], dtype=F64)
    f = lambda z, w, x: torch.tanh(rates[: len(z)] * w * z) + x  # noqa: E731
    w, x = torch.tensor(1.0, dtype=F64), torch.tensor([[1.0], [0.01], [-0.5]], dtype=F64)
    solver = Reversible(rtol=1e-10, max_steps=500, patience=500)
    solution = assert_equal_to_unrolled(
        solver, f, (w, x), torch.ones(3, 1, dtype=F64), z0=torch.zeros_like(x)
    )
    assert solution.converged.all()
    assert solution.steps.max() > 10 * solution.steps.min()


@pytest.mark.parametrize("state", ["y", "z"])
def test_a_row_that_drifts_out_of_the_domain_of_f_spoils_no_shared_parameter(state):
    # z -> x - z / 2 from 0: no state is above y_1 = 0.8 x, and no one below z_0 = 0. There the
    # domain of f ends, but for 1e-11; what comes back in 9 steps is off by 1e-8.
    x = 1 + normal(20, 1, seed=10).abs()

    def f(z, w, x):
        room = (0.8 + 1e-11) * x - z if state == "y" else z + 1e-11
        return w * z + x + 0 * w * torch.sqrt(room)

    solver = Reversible(damping=0.8, max_steps=10, **ALL_STEPS)

    def run(gradient):
        inputs = leaves(torch.tensor(-0.5, dtype=F64), x)
        value = solve(gradient, solver, f, *inputs, z0=torch.zeros_like(x)).value
        return torch.autograd.grad(value.sum(), inputs)

    for got, expected in zip(run(Reversed()), run(Unrolled()), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


# What cannot be taken back


def solved_with_a_map_that_changes(gradient, on_failure, rtol=1e-8):
    """A solve, and the gradient that it has after f has changed."""
    factor, (x,) = [1.0], leaves(X)
    f = lambda z, x: torch.tanh(factor[0] * z @ W.T + x)  # noqa: E731
    solver = Reversible(rtol=rtol, max_steps=40, patience=1000)
    value = solve(gradient, solver, f, x, on_failure=on_failure).value
    factor[0] = 0.9
    value.backward(U)
    return x.grad


def test_a_map_that_has_changed_since_the_solve_is_refused_with_what_to_do():
    sentence = (
        r"gradient of fixed_point by Reversed: 4 of 4 samples missed the accuracy \(worst: sample "
        r"\d, estimated relative error \d\.\de-0\d where 1\.0e-08 is allowed, after \d+ steps "
        r"back\)\.\nf did not return in the reverse pass what it returned in the solve: make f "
        r"deterministic, .* Implicit\(\) and Unrolled\(\) do not compute the steps again"
    )
    with pytest.raises(ConvergenceError, match=sentence):
        solved_with_a_map_that_changes(Reversed(), "raise")


def test_a_map_that_has_changed_warns_or_is_passed_over_as_the_caller_says():
    with pytest.warns(ConvergenceWarning, match="by Reversed: samples missed the accuracy"):
        warned = solved_with_a_map_that_changes(Reversed(), "warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignored = solved_with_a_map_that_changes(Reversed(), "ignore")
    assert torch.equal(warned, ignored)
    assert ignored.isfinite().all()


@pytest.mark.parametrize(
    ("rtol", "of_the_solver", "allowed"),
    [(None, 1e-7, "1.0e-07"), (1e-6, 1e-7, "1.0e-06"), (None, 0.0, "1.0e-05")],
)
def test_the_allowed_error_is_that_of_the_solver_unless_it_is_set(rtol, of_the_solver, allowed):
    with pytest.warns(ConvergenceWarning) as caught:
        solved_with_a_map_that_changes(Reversed(rtol=rtol), "warn", of_the_solver)
    last = caught[-1].message.details
    assert "by Reversed: 4 of 4 samples missed the accuracy" in last
    assert f"where {allowed} is allowed" in last


def test_a_late_nan_passes_zero_and_nothing_to_shared_parameters():
    # Row 1 ends where z passes 10.
    f = lambda z, w, x, end: w * z + x + 1e-3 * torch.sqrt(end - z)  # noqa: E731
    w, end = torch.tensor(0.5, dtype=F64), torch.tensor([[100.0], [10.0], [100.0]], dtype=F64)
    x = torch.tensor([[1.0, 0.5], [8.0, 9.0], [-0.5, 2.0]], dtype=F64)

    def run(rows):
        inputs = leaves(w, x[rows])
        z0 = torch.zeros_like(x[rows])
        solution = solve(Reversed(), Reversible(rtol=1e-6), f, *inputs, end[rows], z0=z0)
        return solution, torch.autograd.grad(solution.value.sum(), inputs)

    solution, (by_w, by_x) = run([0, 1, 2])
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]
    _, (healthy_w, healthy_x) = run([0, 2])
    assert torch.equal(by_x[1], torch.zeros(2, dtype=F64))
    torch.testing.assert_close(by_x[[0, 2]], healthy_x, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_w, healthy_w, rtol=1e-12, atol=0)


def test_a_map_without_a_derivative_on_the_way_is_not_passed_over_in_silence():
    # 0.5 sqrt|z| has the fixed points 0, where we start, and 1/4.
    f = lambda z, x: 0.5 * (z * x).abs().sqrt()  # noqa: E731
    (x,) = leaves(torch.ones(1, 1, dtype=F64))
    z0 = torch.zeros(1, 1, dtype=F64)
    solver = Reversible(min_steps=3, max_steps=3)
    value = solve(Reversed(), solver, f, x, z0=z0, on_failure="raise").value
    with pytest.raises(ConvergenceError, match="derivative of f is inf or nan there"):
        value.backward(torch.ones_like(value))


def test_a_cotangent_that_is_not_finite_is_passed_on_and_is_no_drift():
    x, u = X.clone().requires_grad_(), U.clone()
    u[1, 0] = torch.nan
    solver = Reversible(rtol=1e-6)
    solve(Reversed(), solver, cell, W, x, on_failure="raise").value.backward(u)
    assert not x.grad[1].isfinite().all()
    _, (_, expected) = gradients(Reversed(), solver)
    rest = [0, 2, 3]
    torch.testing.assert_close(x.grad[rest], expected[rest], rtol=1e-12, atol=0)


def test_rows_outside_the_loss_get_zero_and_are_not_walked():
    calls = []
    rates = torch.tensor([[0.9], [0.1]], dtype=F64)
    f = lambda z, x: (calls.append(z), rates * z + x)[1]  # noqa: E731
    (x,) = leaves(torch.ones(2, 1, dtype=F64))
    solution = solve(Reversed(), Reversible(rtol=1e-6), f, x, z0=torch.zeros(2, 1, dtype=F64))
    calls.clear()
    solution.value[1].sum().backward()
    assert x.grad[0] == 0
    assert x.grad[1] != 0
    # Once to see that no row has an effect on another.
    assert len(calls) == 1 + 2 * (int(solution.steps[1]) - 1) < 2 * (int(solution.steps[0]) - 1)


@pytest.mark.parametrize("outside", [[], [1], [0, 2]])
def test_rows_that_f_couples_have_the_gradient_of_their_tape(outside):
    # Each ends at another step, and then stands still while it has an effect on the others.
    rates = torch.tensor([[0.2], [0.9], [0.5]], dtype=F64)
    f = lambda z, x: rates * torch.tanh(z) + 0.05 * z.flip(0) + x  # noqa: E731
    u = U[:3].clone()
    u[outside] = 0.0
    solver = Reversible(rtol=1e-9, max_steps=500)
    solution = assert_equal_to_unrolled(solver, f, (X[:3],), u, z0=torch.zeros_like(X[:3]))
    assert solution.converged.all()
    assert len(set(solution.steps.tolist())) == 3


# On and off the tape


def test_without_gradients_the_value_is_the_same_and_carries_none():
    (x,) = leaves(X)
    solver = Reversible(rtol=1e-6)
    expected = solve(Reversed(), solver, cell, W, x).value
    assert expected.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            value = solve(Reversed(), solver, cell, W, x).value
        assert torch.equal(value, expected)
        assert not value.requires_grad
    assert not solve(Reversed(), solver, cell, W, X).value.requires_grad
    constant = lambda z, x: torch.ones_like(z)  # noqa: E731
    assert not solve(Reversed(), solver, constant, x).value.requires_grad


def test_backward_twice_over_a_retained_graph_doubles_the_gradient():
    (x,) = leaves(X)
    value = solve(Reversed(), Reversible(max_steps=7, **ALL_STEPS), cell, W, x).value
    value.backward(U, retain_graph=True)
    once = x.grad.clone()
    value.backward(U)
    torch.testing.assert_close(x.grad, 2 * once, rtol=1e-14, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        value.backward(U)


def test_a_parameter_that_was_changed_in_between_is_refused():
    # The steps of another map cannot be taken back.
    w = W.clone().requires_grad_()
    value = solve(Reversed(), Reversible(max_steps=7, **ALL_STEPS), cell, w, X).value
    with torch.no_grad():
        w.mul_(1.01)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward(U)


def test_rows_stay_in_the_batch_whatever_is_asked():
    rows = []
    rates = torch.tensor([[0.1], [0.9], [0.1], [0.1]], dtype=F64)
    f = lambda z, r, x: (rows.append(len(z)), torch.tanh(r * (z @ W.T)) + x)[1]  # noqa: E731
    inputs = leaves(rates, X)
    solver = Reversible(rtol=1e-5)
    value = solve(Reversed(), solver, f, *inputs, rows_independent=True).value
    got = torch.autograd.grad(value, inputs, U)
    assert set(rows) == {4}
    expected = solve(Unrolled(), solver, f, *inputs).value
    expected = torch.autograd.grad(expected, inputs, U)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", [Anderson(), Picard()])
def test_another_solver_is_refused_with_the_way_out(solver):
    sentence = rf"pass solver=Reversible\(damping=0\.5\), got {type(solver).__name__}"
    with pytest.raises(ValueError, match=sentence):
        solve(Reversed(), solver, cell, W, X)


def test_an_undamped_solver_is_refused():
    with pytest.raises(ValueError, match=r"divides by 1 - damping: pass .* got 1"):
        solve(Reversed(), Reversible(damping=1.0), cell, W, X)


@pytest.mark.parametrize("rtol", [-1e-3, float("nan")])
def test_an_allowed_error_outside_its_domain_is_refused(rtol):
    with pytest.raises(ValueError, match="rtol must be 0 or more, got"):
        Reversed(rtol=rtol)


def test_second_derivatives_are_refused_with_the_way_out():
    (x,) = leaves(X)
    value = solve(Reversed(), Reversible(), cell, W, x).value
    with pytest.raises(NotImplementedError, match=r"by Reversed has no derivative .* Implicit\(\)"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


def test_a_batch_of_cotangents_at_once_has_the_gradient_of_each():
    (x,) = leaves(X)
    value = solve(Reversed(), Reversible(), cell, W, x).value
    both = torch.stack([U, -3 * U])
    (many,) = torch.autograd.grad(value, x, both, is_grads_batched=True, retain_graph=True)
    for found, u in zip(many, both, strict=True):
        assert torch.equal(found, *torch.autograd.grad(value, x, u, retain_graph=True))
