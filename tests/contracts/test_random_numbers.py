"""The random generators beside a solve: moved on by one evaluation, wherever f is evaluated."""

import subprocess
import sys
import textwrap
import threading

import pytest
import torch
from torch import nn

from deqlab import Anderson, Implicit, Picard, fixed_point
from deqlab.gradients import Reversed, Unrolled
from deqlab.solvers import Reversible
from tests.contracts.gradients import every_gradient
from tests.contracts.solvers import every_solver
from tests.problems import F64, affine_solution, matrix, normal

W, X = matrix(6, norm=0.25, seed=0), normal(4, 6, seed=1)


def dropped(z, x):
    return nn.functional.dropout(z, 0.5) @ W.T + x


def state():
    return torch.get_rng_state()


def after_one_evaluation():
    torch.manual_seed(3)
    dropped(torch.zeros_like(X), X)
    expected = state()
    torch.manual_seed(3)
    return expected


@every_solver
def test_a_solve_moves_the_generator_on_by_one_evaluation(solver):
    expected = after_one_evaluation()
    fixed_point(dropped, torch.zeros_like(X), X, solver=solver)
    assert torch.equal(state(), expected)


def test_a_thread_that_does_nothing_changes_no_random_number():
    # A progress bar or a loader of data has one: the numbers of a program must not depend on it.
    torch.manual_seed(3)
    alone = fixed_point(dropped, torch.zeros_like(X), X).value
    end, done = state(), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        torch.manual_seed(3)
        beside = fixed_point(dropped, torch.zeros_like(X), X).value
        assert torch.equal(state(), end)
        assert torch.equal(beside, alone)
    finally:
        done.set()
        thread.join()


@every_gradient
def test_a_backward_pass_leaves_the_generator_where_it_is(case):
    expected, x = after_one_evaluation(), X.clone().requires_grad_()
    options = {"solver": case.solver, "gradient": case.gradient}
    value = fixed_point(dropped, torch.zeros_like(X), x, **options).value
    assert torch.equal(state(), expected)
    torch.rand(5)
    expected = state()
    value.square().sum().backward()
    assert torch.equal(state(), expected)


def test_second_derivatives_leave_the_generator_where_it_is():
    x = X.clone().requires_grad_()
    value = fixed_point(dropped, torch.zeros_like(X), x, solver=Anderson(rtol=1e-10)).value
    torch.rand(5)
    expected = state()
    (by_x,) = torch.autograd.grad(value.square().sum(), x, create_graph=True)
    by_x.square().sum().backward()
    assert torch.equal(state(), expected)


class Breaks:
    """`dropped`, until it has been called so many times."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, z, x):
        self.left -= 1
        if self.left < 0:  # before it has drawn, so that a generator left as it is set back shows
            raise MemoryError("out of memory")
        return dropped(z, x)


@every_solver
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_error_in_f_leaves_the_generator_where_one_evaluation_does(solver, calls):
    expected = after_one_evaluation()
    with pytest.raises(MemoryError):
        fixed_point(Breaks(calls), torch.zeros_like(X), X, solver=solver)
    assert torch.equal(state(), expected)


@pytest.mark.parametrize(
    ("gradient", "solver"),
    [
        (Implicit(accuracy=1e-6), Anderson()),
        (Unrolled(checkpoint=True), Picard()),
        (Reversed(rtol=1.0), Reversible(rtol=1e-5)),
    ],
    ids=["accuracy", "checkpoint", "reversed"],
)
def test_an_error_in_f_in_the_backward_pass_leaves_the_generator_where_it_was(gradient, solver):
    f, x = Breaks(10**6), X.clone().requires_grad_()
    value = fixed_point(f, torch.zeros_like(X), x, gradient=gradient, solver=solver).value
    torch.rand(5)
    expected, f.left = state(), 0
    with pytest.raises(MemoryError):
        value.sum().backward()
    assert torch.equal(state(), expected)


@every_gradient
def test_a_generator_that_f_has_of_its_own_is_held_too(case):
    own, x, masks = torch.Generator().manual_seed(0), X.clone().requires_grad_(), []

    def f(z, x):
        mask = torch.bernoulli(torch.full_like(z, 0.5), generator=own)
        masks.append(mask)
        return (mask * z) @ W.T + x

    before = state()
    options = {"solver": case.solver, "gradient": case.gradient}
    value = fixed_point(f, torch.zeros_like(X), x, **options).value
    expected = own.get_state()
    value.sum().backward()
    assert torch.equal(own.get_state(), expected)
    assert torch.equal(state(), before)
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    again = torch.Generator().manual_seed(0)
    torch.bernoulli(torch.full_like(X, 0.5), generator=again)
    assert torch.equal(again.get_state(), expected)
    rows = [affine_solution(W * m, a[None]) for m, a in zip(masks[0], X, strict=True)]
    torch.testing.assert_close(value, torch.cat(rows), rtol=1e-9, atol=1e-9)


@pytest.fixture
def another_thread():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.usefixtures("another_thread")
def test_a_map_that_draws_nothing_is_not_looked_at_again_beside_an_idle_thread():
    """Not even where f holds tensors that it might write, and that are held still at first."""
    w, x, calls = matrix(3, norm=0.5, seed=1), normal(2, 3, seed=2), []

    def f(z):
        calls.append(1)
        return z @ w.T + x

    with torch.no_grad():
        solution = fixed_point(f, torch.zeros(2, 3, dtype=F64))
    assert len(calls) == solution.evaluations


@pytest.mark.usefixtures("another_thread")
def test_an_error_beside_another_thread_leaves_the_generator_where_one_evaluation_does():
    """The first draws are then looked at once more, alone: the error comes in that evaluation."""
    calls = []

    def f(z):
        calls.append(1)
        if len(calls) == 2:  # before it has drawn, so that a generator left set back shows
            raise KeyError("in f")
        return 0.5 * z + torch.rand(3, dtype=F64)

    torch.manual_seed(1)
    torch.rand(3, dtype=F64)
    after_one = torch.get_rng_state()
    torch.manual_seed(1)
    with pytest.raises(KeyError, match="in f"):
        fixed_point(f, torch.zeros(2, 3, dtype=F64))
    assert len(calls) == 2
    assert torch.equal(torch.get_rng_state(), after_one)


@pytest.mark.usefixtures("another_thread")
def test_numbers_that_another_thread_drew_meanwhile_stay_drawn():
    """Who draws beside a map that draws nothing is not set back by its solve."""
    calls = []

    def f(z):
        calls.append(1)
        if len(calls) == 1:
            other = threading.Thread(target=torch.rand, args=(3,))
            other.start()
            other.join()
        return 0.5 * z + 1

    torch.manual_seed(1)
    torch.rand(3)
    after_one = torch.get_rng_state()
    torch.manual_seed(1)
    fixed_point(f, torch.zeros(2, 3, dtype=F64))
    assert torch.equal(torch.get_rng_state(), after_one)


def test_the_first_solve_beside_another_thread_imports_no_compiler():
    """It would for seconds, while all other threads wait for their turn."""
    code = """
        import sys, threading, torch
        from deqlab import fixed_point

        end = threading.Event()
        threading.Thread(target=end.wait, daemon=True).start()
        fixed_point(lambda z: 0.2 * torch.dropout(z + 1, 0.5, True), torch.zeros(2, 3))
        end.set()
        sys.exit("torch._dynamo" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.fixture
def threads_take_turns_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("threads_take_turns_often")
def test_threads_with_a_dropout_each_solve_one_map_each():
    """While others solve, and while another draws from the same generator all the time."""
    problems, done = [], threading.Event()
    switch = threading.local()

    def f(z, x):
        mask = nn.functional.dropout(torch.ones_like(z), 0.5)
        switch.masks.append(mask.detach())
        return (mask * z) @ W.T + x

    def solve():
        for _ in range(10):
            switch.masks = []
            x = torch.randn(8, 6, dtype=F64, requires_grad=True)
            solution = fixed_point(f, torch.zeros_like(x), x, solver=Anderson(rtol=1e-10))
            solution.value.sum().backward()
            problems.append((solution.value.detach(), x.detach(), switch.masks[-1]))

    def draw():
        while not done.wait(2e-2):
            torch.rand(3)

    threads = [threading.Thread(target=solve) for _ in range(8)]
    other = threading.Thread(target=draw)
    other.start()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        done.set()
        other.join()
    assert len(problems) == 80
    for value, x, mask in problems:
        rows = [affine_solution(W * m, a[None]) for m, a in zip(mask, x, strict=True)]
        torch.testing.assert_close(value, torch.cat(rows), rtol=1e-8, atol=1e-8)
    masks = {tuple(mask.flatten().tolist()) for *_, mask in problems}
    assert len(masks) == 80


def test_threads_that_draw_elsewhere_do_not_make_a_map_random():
    done = threading.Event()

    def draw():
        while not done.is_set():
            torch.rand(100)

    other = threading.Thread(target=draw)
    other.start()
    rates = torch.linspace(0.1, 0.9, 4, dtype=F64)[:, None]
    f = lambda z, rates, x: torch.tanh(rates * (z @ W.T) + x)  # noqa: E731
    try:
        for _ in range(20):
            fixed_point(f, torch.zeros_like(X), rates, X, rows_independent=True)
    finally:
        done.set()
        other.join()


def test_a_generator_that_never_rests_is_an_error():
    def restless(z):
        torch.seed()
        return 0.5 * nn.functional.dropout(z + 1, 0.5)

    done = threading.Event()  # the other thread lives for as long as the solve, on any machine
    thread = threading.Thread(target=done.wait, args=(60,), daemon=True)
    thread.start()
    with pytest.raises(RuntimeError, match=r"another thread drew from the same generator"):
        fixed_point(restless, torch.zeros_like(X))
    done.set()
