"""Tensors that f reaches without being given them: each gets its gradient, once, hooks and all.

The gold is that of the same problem with the tensor given as an argument, or a closed form.
"""

import threading

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit, fixed_point
from tests.contracts.gradients import GRADIENTS, every_gradient, gradients
from tests.problems import F64, matrix, normal

W, X = matrix(3, norm=0.6, seed=0), normal(2, 3, seed=1)
U = normal(2, 3, seed=2)

attached_gradients = gradients(lambda case: not case.taped and not case.follows_path)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def solve(case, f, *args):
    options = {"solver": case.solver, "gradient": case.gradient}
    return fixed_point(f, torch.zeros(2, 3, dtype=F64), *args, **options).value


def leaf(tensor):
    return tensor.clone().requires_grad_()


def given(case):
    """The gradients of w and x where f is given both."""
    w, x = leaf(W), leaf(X)
    return torch.autograd.grad(solve(case, cell, w, x), (w, x), U)


@every_gradient
def test_a_hook_of_a_captured_leaf_runs_once_on_the_whole_gradient(case):
    w, x, seen = leaf(W), leaf(X), []

    def reverse(g):
        seen.append(g)
        return -g

    w.register_hook(reverse)
    solve(case, lambda z, x: cell(z, w, x), x).backward(U)
    of_w, of_x = given(case)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], of_w, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(w.grad, -of_w, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(x.grad, of_x, rtol=1e-9, atol=1e-11)


@every_gradient
def test_hooks_of_a_modules_parameters_run_once_a_backward_pass(case):
    module, calls = nn.Linear(3, 3, dtype=F64), []
    with torch.no_grad():
        module.weight.copy_(W)
    for parameter in module.parameters():
        parameter.register_hook(lambda g: calls.append(1))
    value = solve(case, lambda z: torch.tanh(module(z) + X))
    value.backward(U, retain_graph=True)
    assert len(calls) == 2
    value.backward(U)
    assert len(calls) == 4
    assert all(len(p._backward_hooks) == 1 for p in module.parameters())


def test_hooks_of_other_threads_run_while_one_is_kept_still():
    # One thread is inside of its own adjoint solve when another differentiates the same leaf.
    w, seen, inside, done = leaf(W), [], threading.Event(), threading.Event()
    w.register_hook(lambda g: seen.append(threading.current_thread().name))

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            return w.clone()

        @staticmethod
        def backward(ctx, g):
            if threading.current_thread().name == "slow":
                inside.set()
                done.wait(20)
            return g

    def differentiate():
        value = fixed_point(lambda z: torch.tanh(z @ Slow.apply(w).T + X), torch.zeros_like(X))
        value.value.sum().backward()

    thread = threading.Thread(target=differentiate, name="slow")
    thread.start()
    assert inside.wait(20)
    torch.autograd.grad((w * 2).sum(), w)
    assert seen == [threading.current_thread().name]
    done.set()
    thread.join()
    assert seen == [threading.current_thread().name, "slow"]
    assert [type(hook).__name__ for hook in w._backward_hooks.values()] == ["function"]


@every_gradient
def test_a_captured_result_gets_its_gradient(case):
    root = leaf(W / 2)
    w, x = 2 * root, leaf(X)
    got = torch.autograd.grad(solve(case, lambda z, x: cell(z, w, x), x), (w, x, root), U)
    of_w, of_x = given(case)
    for gradient, expected in zip(got, (of_w, of_x, 2 * of_w), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11)


@every_gradient
def test_hooks_and_grad_of_a_captured_result_see_its_gradient_once(case):
    root, seen = leaf(W / 2), []
    w = 2 * root
    w.retain_grad()
    w.register_hook(lambda g: seen.append(g))
    solve(case, lambda z: cell(z, w, X)).backward(U)
    of_w, _ = given(case)
    assert len(seen) == 1
    torch.testing.assert_close(w.grad, of_w, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(root.grad, 2 * of_w, rtol=1e-9, atol=1e-11)


@every_gradient
def test_a_captured_leaf_and_a_result_made_from_it_get_their_own_parts(case):
    # x enters by itself and as 3 x: dz/dx = part of x + 3 times part of 3 x.
    x = leaf(X)
    triple = 3 * x
    f = lambda z: cell(z, W, x / 4 + triple / 4)  # noqa: E731
    got = torch.autograd.grad(solve(case, f), (triple, x), U)
    _, of_x = given(case)
    torch.testing.assert_close(got[0], of_x / 4, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(got[1], of_x, rtol=1e-9, atol=1e-11)


@every_gradient
def test_a_captured_result_with_several_outputs_gets_each_its_own(case):
    both = leaf(torch.stack([X / 2, X / 2]))
    a, b = both.unbind()
    got = torch.autograd.grad(solve(case, lambda z: cell(z, W, a + b)), (a, b, both), U)
    _, of_x = given(case)
    for gradient, expected in zip(got, (of_x, of_x, torch.stack([of_x, of_x])), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11)


@every_gradient
def test_tensors_inside_containers_among_the_args_get_their_gradient(case):
    w, x = leaf(W), leaf(X)
    f = lambda z, a: cell(z, a["w"], a["rest"][0])  # noqa: E731
    got = torch.autograd.grad(solve(case, f, {"w": w * 1, "rest": [x * 1, None, 3]}), (w, x), U)
    for gradient, expected in zip(got, given(case), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


exact_second = gradients(
    lambda case: case in [GRADIENTS[name] for name in ("Implicit", "Implicit-Dense")]
)


@exact_second
@pytest.mark.parametrize("how", ["leaf", "result"])
def test_second_derivatives_by_captured_tensors_are_those_of_arguments(case, how):
    def second(w, x, f, *args):
        value = solve(case, f, *args)
        (first,) = torch.autograd.grad(value, w, U, create_graph=True)
        return torch.autograd.grad((first**2).sum(), (w, x))

    w, x = leaf(W), leaf(X)
    expected = second(w, x, cell, w, x)
    w, x = leaf(W), leaf(X)
    v, y = (w, x) if how == "leaf" else (w * 1, x * 1)
    got = second(v, y, lambda z: cell(z, v, y))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@attached_gradients
def test_two_steps_of_meta_learning_go_through_the_fast_weights(case):
    # The loss after two steps of gradient descent, by the start: against finite differences of it
    # for exact gradients, and for all that it can be computed at all.
    if getattr(case.gradient, "accuracy", None) is not None:
        pytest.skip("evaluates f in the backward pass: see the test below")

    def adapted(w):
        for _ in range(2):
            fast = w  # captured by f
            loss = solve(case, lambda z, fast=fast: cell(z, fast, X)).square().sum()
            (g,) = torch.autograd.grad(loss, fast, create_graph=True)
            w = fast - 0.05 * g
        return solve(case, lambda z: cell(z, w, X)).square().sum()

    start = leaf(W)
    (gradient,) = torch.autograd.grad(adapted(start), start)
    assert gradient.isfinite().all()
    if not case.exact:
        return
    step, i, j = 1e-5, 1, 2
    moved = torch.zeros_like(W)
    moved[i, j] = step
    slope = (adapted(leaf(W + moved)) - adapted(leaf(W - moved))) / (2 * step)
    torch.testing.assert_close(gradient[i, j], slope.detach(), rtol=1e-5, atol=1e-8)


def test_meta_learning_by_functional_call_is_that_of_weights_given():
    torch.manual_seed(0)
    cell_module = nn.Linear(3, 3, dtype=F64)
    with torch.no_grad():
        cell_module.weight.mul_(0.5)

    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = cell_module

        def forward(self, z, x):
            return torch.tanh(self.linear(z) + x)

    deq = DEQ(Cell(), solver=Anderson(rtol=1e-12))
    names = [name for name, _ in deq.named_parameters()]

    def after(weights, predict):
        for _ in range(2):
            loss = predict(weights).square().sum()
            steps = torch.autograd.grad(loss, weights, create_graph=True)
            weights = [w - 0.1 * g for w, g in zip(weights, steps, strict=True)]
        return predict(weights).square().sum()

    def by_call(weights):
        return torch.func.functional_call(deq, dict(zip(names, weights, strict=True)), (X,))

    def by_args(weights):
        w, b = weights
        f = lambda z, w, b: torch.tanh(z @ w.T + b + X)  # noqa: E731
        return fixed_point(f, torch.zeros_like(X), w, b, solver=Anderson(rtol=1e-12)).value

    starts = list(deq.parameters())
    got = torch.autograd.grad(after(starts, by_call), starts)
    expected = torch.autograd.grad(after(starts, by_args), starts)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


def test_parameters_replaced_before_the_backward_pass_are_refused_where_f_is_evaluated_again():
    linear = nn.Linear(3, 3, dtype=F64)
    deq = DEQ(linear_cell(linear), gradient=Implicit(accuracy=1e-6))
    fast = {name: 0.5 * p.detach().clone() for name, p in deq.named_parameters()}
    fast = {name: p.requires_grad_() for name, p in fast.items()}
    value = torch.func.functional_call(deq, fast, (X,))
    with pytest.raises(RuntimeError, match="functional_call"):
        value.sum().backward()


def linear_cell(linear):
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, z, x):
            return 0.5 * torch.tanh(self.linear(z) + x)

    return Cell()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore::DeprecationWarning")
@pytest.mark.parametrize("way", ["closure", "list", "attribute"])
def test_a_captured_result_that_torchscript_alone_uses_gets_its_gradient(way):
    @torch.jit.script
    def scripted(z, w):
        return 0.3 * torch.tanh(z * w)

    w0 = normal(3, seed=0).requires_grad_()
    w, x = 2 * w0, normal(2, 3, seed=1)
    holder = nn.Module()
    holder.w, held = w, [w]
    f = {
        "closure": lambda z: scripted(z, w) + x,
        "list": lambda z: scripted(z, held[0]) + x,
        "attribute": lambda z: scripted(z, holder.w) + x,
    }[way]
    value = fixed_point(f, torch.zeros_like(x), solver=Anderson(rtol=1e-12)).value
    found = torch.autograd.grad(value.sum(), [w, w0])
    z = value.detach()
    slope = 0.3 * (1 - torch.tanh(z * w.detach()) ** 2)
    by_w = (slope * z / (1 - slope * w.detach())).sum(dim=0)  # the implicit function theorem
    torch.testing.assert_close(found, (by_w, 2 * by_w), rtol=1e-8, atol=1e-10)
