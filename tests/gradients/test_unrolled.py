"""Unrolled: the derivative of the steps themselves, all of them or the last few.

Picard iteration of z = wz + x from 0 is after N steps x (1 - w^N) / (1 - w), and

    dz/dx = (1 - w^N) / (1 - w),    dz/dw = x ((1 - w^N) / (1 - w)^2 - N w^(N-1) / (1 - w)).

k steps from z*, which stands still, have dz/dx = (1 - w^k) / (1 - w) and dz/dw = z* times that.
"""

from dataclasses import replace

import pytest
import torch

from deqlab import Anderson, Picard, Status, fixed_point
from deqlab.costs import peak_memory
from deqlab.gradients import Implicit, Unrolled
from tests.problems import F64, matrix, normal

ALL_STEPS = {"rtol": 0.0, "atol": 0.0, "patience": 1000}
TIGHT = Anderson(rtol=1e-13, atol=0.0, max_steps=500)
SOLVERS = pytest.mark.parametrize(
    "solver", [Picard(), Picard(damping=0.7), Anderson(), Anderson(memory=2, damping=0.7)]
)
CHECKPOINTS = pytest.mark.parametrize("checkpoint", [False, True], ids=["plain", "checkpoint"])
W, X, U = matrix(4, norm=0.8, seed=0), normal(3, 4, seed=1), normal(3, 4, seed=2)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def run(gradient, solver, f=cell, tensors=(W, X), u=U, **options):
    inputs = leaves(*tensors)
    options = {"on_failure": "ignore"} | options
    z0 = torch.zeros_like(u)
    solution = fixed_point(f, z0, *inputs, solver=solver, gradient=gradient, **options)
    return solution, torch.autograd.grad(solution.value, inputs, u)


def scalar(w):
    f = lambda z, w, x: w * z + x  # noqa: E731
    tensors = (torch.tensor([[w]], dtype=F64), torch.tensor([[2.0]], dtype=F64))
    return {"f": f, "tensors": tensors, "u": torch.ones(1, 1, dtype=F64)}


@CHECKPOINTS
@pytest.mark.parametrize("w", [0.8, -0.5])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_gradient_of_all_steps_is_its_closed_form(steps, w, checkpoint):
    # The value after N steps is judged in iteration N + 1, the last.
    solver = Picard(max_steps=steps + 1, **ALL_STEPS)
    solution, (by_w, by_x) = run(Unrolled(checkpoint=checkpoint), solver, **scalar(w))
    by_x_exact = (1 - w**steps) / (1 - w)
    by_w_exact = 2 * (by_x_exact / (1 - w) - steps * w ** (steps - 1) / (1 - w))
    assert solution.value.item() == pytest.approx(2 * by_x_exact, rel=1e-13)
    assert by_x.item() == pytest.approx(by_x_exact, rel=1e-13)
    assert by_w.item() == pytest.approx(by_w_exact, rel=1e-12, abs=1e-14)


@CHECKPOINTS
@pytest.mark.parametrize("w", [0.8, -0.5, 0.0])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_gradient_of_the_last_steps_is_its_closed_form(steps, w, checkpoint):
    gradient = Unrolled(steps=steps, checkpoint=checkpoint)
    _, (by_w, by_x) = run(gradient, TIGHT, **scalar(w))
    exact = (1 - w**steps) / (1 - w)
    assert by_x.item() == pytest.approx(exact, rel=1e-12)
    assert by_w.item() == pytest.approx(exact * 2 / (1 - w), rel=1e-11)


@CHECKPOINTS
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_gradient_of_the_last_steps_is_that_of_a_plain_loop(steps, checkpoint):
    # Also where the solve is far from its end.
    solver = Anderson(rtol=1e-2)
    solution, got = run(Unrolled(steps=steps, checkpoint=checkpoint), solver)
    inputs, z = leaves(W, X), solution.value.detach()
    for _ in range(steps):
        z = cell(z, *inputs)
    expected = torch.autograd.grad(z, inputs, U)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@SOLVERS
@CHECKPOINTS
def test_the_gradient_of_all_steps_is_that_of_finite_differences(solver, checkpoint):
    # No tolerance decides anything here: what is differentiated is smooth.
    solver = replace(solver, max_steps=4, **ALL_STEPS)

    def value(w, x):
        options = {"solver": solver, "gradient": Unrolled(checkpoint=checkpoint)}
        return fixed_point(cell, torch.zeros_like(X), w, x, on_failure="ignore", **options).value

    assert torch.autograd.gradcheck(value, leaves(W, X))


@CHECKPOINTS
def test_second_derivatives_of_all_steps_are_those_of_finite_differences(checkpoint):
    solver = Picard(max_steps=4, **ALL_STEPS)
    gradient = Unrolled(checkpoint=checkpoint)

    def value(w, x):
        options = {"solver": solver, "gradient": gradient, "on_failure": "ignore"}
        return fixed_point(cell, torch.zeros_like(X), w, x, **options).value

    assert torch.autograd.gradgradcheck(value, leaves(W, X), fast_mode=True)


@CHECKPOINTS
def test_second_derivatives_of_the_last_steps_are_those_of_finite_differences(checkpoint):
    # z* stands still, so that the gold is a plain loop from there.
    w, x = leaves(W, X)
    gradient = Unrolled(steps=3, checkpoint=checkpoint)
    value = fixed_point(cell, torch.zeros_like(X), w, x, solver=TIGHT, gradient=gradient).value
    (by_w,) = torch.autograd.grad(value, w, U, create_graph=True)
    direction, at_x = normal(4, 4, seed=3), normal(3, 4, seed=4)
    (second,) = torch.autograd.grad(by_w, x, direction)

    def slope(x):
        (leaf,), z = leaves(W), value.detach()
        for _ in range(3):
            z = cell(z, leaf, x)
        return (torch.autograd.grad(z, leaf, U)[0] * direction).sum()

    h = 1e-5
    along_x = (slope(X + h * at_x) - slope(X - h * at_x)) / (2 * h)
    # Central differences: h^2 = 1e-10, and rounding 1e-16 / h = 1e-11.
    torch.testing.assert_close((second * at_x).sum(), along_x, rtol=1e-7, atol=1e-8)


@SOLVERS
def test_a_converged_solve_has_almost_the_implicit_gradient(solver):
    solver = replace(solver, rtol=1e-12, atol=0.0, max_steps=1000)
    _, unrolled = run(Unrolled(), solver)
    _, exact = run(Implicit(), solver)
    # A derivative is one evaluation behind the value, and amplified by 1 / (1 - 0.8) twice.
    torch.testing.assert_close(unrolled, exact, rtol=1e-9, atol=1e-9)


def test_many_last_steps_tend_to_the_implicit_gradient():
    (_, few), (_, many) = run(Unrolled(steps=5), TIGHT), run(Unrolled(steps=150), TIGHT)
    _, exact = run(Implicit(), TIGHT)
    torch.testing.assert_close(many, exact, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(few[1], exact[1], rtol=1e-4, atol=1e-4)


# The value


@SOLVERS
@pytest.mark.parametrize(
    "gradient", [Unrolled(), Unrolled(checkpoint=True), Unrolled(steps=2), Unrolled(steps=9)]
)
def test_the_value_is_that_of_the_solve_without_a_tape_bit_for_bit(solver, gradient):
    solver = replace(solver, rtol=1e-3)
    options = {"solver": solver, "gradient": gradient}
    with torch.no_grad():
        plain = fixed_point(cell, torch.zeros_like(X), W, X, **options)
    solution, _ = run(gradient, solver)
    assert solution.value.requires_grad
    assert torch.equal(solution.value, plain.value)
    assert solution.evaluations == plain.evaluations
    # A tape cannot follow all that Anderson does without one: the same to rounding.
    other = fixed_point(cell, torch.zeros_like(X), W, X, solver=solver)
    torch.testing.assert_close(plain.value, other.value, rtol=1e-10, atol=1e-10)
    if gradient.steps is not None or isinstance(solver, Picard):
        assert torch.equal(plain.value, other.value)


def test_a_truncated_value_is_the_best_iterate_and_its_gradient_is_of_that():
    # The last iterate is worse: z -> 3 - 1.1 z moves away from 3 / 2.1.
    (x,) = leaves(torch.full((1, 1), 3.0, dtype=F64))
    f = lambda z, x: x - 1.1 * z  # noqa: E731
    z0 = torch.full((1, 1), 1.4, dtype=F64)
    options = {"solver": Picard(max_steps=5), "gradient": Unrolled(), "on_failure": "ignore"}
    solution = fixed_point(f, z0, x, **options)
    assert torch.equal(solution.value, z0)
    assert not solution.value.requires_grad


@pytest.mark.parametrize("steps", [None, 3])
def test_a_start_that_has_converged_carries_a_gradient_only_of_further_steps(steps):
    (x,) = leaves(X)
    start = fixed_point(cell, torch.zeros_like(X), W, X, solver=TIGHT).value
    options = {"solver": Picard(rtol=1e-6), "gradient": Unrolled(steps=steps)}
    solution = fixed_point(cell, start, W, x, **options)
    assert solution.evaluations == 1
    assert solution.value.requires_grad == (steps is not None)


@pytest.mark.parametrize("gradient", [Unrolled(), Unrolled(steps=2), Unrolled(checkpoint=True)])
def test_nothing_is_recorded_without_need(gradient):
    (x,) = leaves(X)
    solve = lambda x: fixed_point(cell, torch.zeros_like(X), W, x, gradient=gradient).value  # noqa: E731
    assert not solve(X).requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert not solve(x).requires_grad


# What the tape keeps


class Evaluations:
    """A cell that notes with which modes it is called."""

    def __init__(self):
        self.modes = []

    def __call__(self, z, w, x):
        self.modes.append(torch.is_grad_enabled())
        return cell(z, w, x)


@pytest.mark.parametrize("steps", [None, 4])
def test_checkpoints_give_the_same_gradient(steps):
    plain, kept = Unrolled(steps=steps), Unrolled(steps=steps, checkpoint=True)
    solver = Picard(max_steps=12, **ALL_STEPS)
    assert all(
        torch.equal(a, b) for a, b in zip(run(plain, solver)[1], run(kept, solver)[1], strict=True)
    )


def test_checkpoints_evaluate_each_step_once_more_on_the_way_back():
    f = Evaluations()
    run(Unrolled(steps=4), TIGHT, f)
    plain, f.modes = f.modes, []
    run(Unrolled(steps=4, checkpoint=True), TIGHT, f)
    assert len(f.modes) == len(plain) + 4


def saved_bytes(gradient, max_steps):
    """Bytes that one tape keeps from the forward pass for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def deep(z, w, x):
        for _ in range(5):
            z = torch.tanh(z @ w.T + x)
        return z

    inputs = leaves(W, X)
    solver = Picard(max_steps=max_steps, **ALL_STEPS)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        options = {"solver": solver, "gradient": gradient, "on_failure": "ignore"}
        value = fixed_point(deep, torch.zeros_like(X), *inputs, **options).value
    assert value.requires_grad
    return sum(kept.values())


def test_the_tape_grows_by_one_evaluation_a_step():
    sizes = [saved_bytes(Unrolled(), steps) for steps in (3, 5, 7)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]
    # Five layers a step, whose outputs tanh keeps.
    assert sizes[1] - sizes[0] >= 2 * 5 * X.numel() * 8


def test_the_tape_of_the_last_steps_does_not_grow_with_the_solve():
    assert saved_bytes(Unrolled(steps=3), 5) == saved_bytes(Unrolled(steps=3), 25)


@pytest.mark.parametrize("steps", [None, 10])
def test_checkpoints_keep_a_fraction_of_the_memory(steps):
    w, x = matrix(30, norm=0.8, seed=5), normal(64, 30, seed=6)

    def deep(z, w, x):
        for _ in range(8):
            z = torch.tanh(z @ w.T + x)
        return z

    def peak(gradient):
        inputs = leaves(w, x)
        solver = Picard(max_steps=12, **ALL_STEPS)

        def step():
            options = {"solver": solver, "gradient": gradient, "on_failure": "ignore"}
            fixed_point(deep, torch.zeros_like(x), *inputs, **options).value.sum().backward()

        return peak_memory(step, inputs)

    plain, kept = (peak(Unrolled(steps=steps, checkpoint=c)) for c in (False, True))
    # Ten states and one evaluation of eight layers, in place of ten such evaluations.
    assert kept < plain / 3


# Rows without an answer, and settings


@pytest.mark.parametrize("gradient", [Unrolled(), Unrolled(steps=3)])
def test_a_row_that_is_not_finite_leaves_the_gradients_of_the_others(gradient):
    # Row 1 ends where z passes 10.
    f = lambda z, x, end: 0.5 * z + x + 1e-3 * torch.sqrt(end - z)  # noqa: E731
    end = torch.tensor([[100.0], [10.0], [100.0]], dtype=F64)
    x = torch.tensor([[1.0, 0.5], [8.0, 9.0], [-0.5, 2.0]], dtype=F64)

    def rows(index):
        u = torch.ones(len(index), 2, dtype=F64)
        f_rows = lambda z, x: f(z, x, end[index])  # noqa: E731
        return run(gradient, Picard(rtol=1e-10), f_rows, (x[index],), u)

    solution, (by_x,) = rows([0, 1, 2])
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]
    torch.testing.assert_close(by_x[[0, 2]], rows([0, 2])[1][0], rtol=1e-10, atol=0)


def test_the_last_steps_of_a_row_that_is_not_finite_pass_zero():
    f = lambda z, x: 0.5 * z + x + 0 * torch.log(x)  # noqa: E731
    x = torch.tensor([[1.0], [-1.0], [2.0]], dtype=F64)
    solution, (by_x,) = run(Unrolled(steps=2), Picard(), f, (x,), torch.ones(3, 1, dtype=F64))
    assert solution.status[1] == Status.NONFINITE
    torch.testing.assert_close(by_x[[0, 2]], torch.full((2, 1), 1.5, dtype=F64))


@pytest.mark.parametrize("steps", [0, -1])
def test_fewer_than_one_step_is_refused(steps):
    with pytest.raises(ValueError, match=f"steps must be at least 1, or None for all, got {steps}"):
        Unrolled(steps=steps)


class Closed(Picard):
    unrollable = False


def test_a_solver_that_no_tape_can_follow_is_refused_unless_only_last_steps_are_recorded():
    with pytest.raises(
        ValueError, match=r"those of Closed cannot be: take Unrolled\(steps=\.\.\.\)"
    ):
        run(Unrolled(), Closed())
    _, got = run(Unrolled(steps=3), Closed(rtol=1e-6))
    _, expected = run(Unrolled(steps=3), Picard(rtol=1e-6))
    assert torch.equal(got[1], expected[1])
