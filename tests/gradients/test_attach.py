"""The node on the tape: who gets a gradient, through which graph, and how long it lives."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from deqlab import Anderson, Broyden, Implicit, JacobianFree, Phantom, Shine, fixed_point
from deqlab.gradients import Dense
from tests.problems import F64, affine_solution, matrix, normal

SOLVER = Anderson(rtol=1e-12, atol=0.0)
W = matrix(3, norm=0.8, seed=0)


def cell(z, x, w=W):
    return torch.tanh(z @ w.T + x)


def z_star(x, f=cell, **options):
    return fixed_point(f, torch.zeros(2, 3, dtype=F64), x, solver=SOLVER, **options).value


def some_x():
    return normal(2, 3, seed=1).requires_grad_()


def test_parameters_of_a_module_get_their_gradient():
    module = nn.Linear(3, 3, dtype=F64)
    with torch.no_grad():
        module.weight.copy_(W)
    value = fixed_point(module, torch.zeros(2, 3, dtype=F64), solver=SOLVER).value
    value.sum().backward()
    v = affine_solution(W.T, torch.ones(2, 3, dtype=F64))
    torch.testing.assert_close(module.bias.grad, v.sum(dim=0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(module.weight.grad, v.T @ value.detach(), rtol=1e-9, atol=1e-9)


def test_a_tensor_used_as_argument_and_in_a_closure_gets_both_parts():
    x = some_x()
    z_star(x / 2 + x / 2).sum().backward()
    expected, x.grad = x.grad, None
    half = lambda z, y: torch.tanh(z @ W.T + y / 2 + x / 2)  # noqa: E731
    z_star(x, half).sum().backward()
    torch.testing.assert_close(x.grad, expected, rtol=1e-10, atol=1e-12)


def test_a_tensor_given_twice_gets_the_sum():
    x = some_x()
    z_star(x).sum().backward()
    expected, x.grad = x.grad, None
    f = lambda z, a, b: torch.tanh(z @ W.T + a / 4 + 3 * b / 4)  # noqa: E731
    fixed_point(f, torch.zeros(2, 3, dtype=F64), x, x, solver=SOLVER).value.sum().backward()
    torch.testing.assert_close(x.grad, expected, rtol=1e-10, atol=1e-12)


def test_an_argument_that_is_a_result_passes_its_gradient_on():
    x = some_x()
    y = x.sin()
    y.retain_grad()
    z_star(y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad * x.detach().cos(), rtol=1e-12, atol=0)


def test_two_forwards_before_one_backward_add_up():
    x = some_x()
    single = torch.autograd.grad(z_star(x).sum(), x)[0]
    double = torch.autograd.grad(z_star(2 * x).sum(), x)[0]
    (z_star(x).sum() + z_star(2 * x).sum()).backward()
    torch.testing.assert_close(x.grad, single + double, rtol=1e-10, atol=1e-12)


def test_two_forwards_through_one_captured_result_add_up():
    x = some_x()
    y = x.sin()
    f = lambda z: torch.tanh(z @ W.T + y)  # noqa: E731
    z0 = torch.zeros(2, 3, dtype=F64)
    first, second = (fixed_point(f, z0, solver=SOLVER).value for _ in range(2))
    (first.sum() + second.sum()).backward()
    expected = 2 * torch.autograd.grad(z_star(x.sin()).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, rtol=1e-10, atol=1e-12)


def test_backward_twice_over_a_retained_graph_doubles_the_gradient():
    x = some_x()
    loss = z_star(x).sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    torch.testing.assert_close(x.grad, 2 * once, rtol=1e-14, atol=0)


def test_one_solve_may_feed_another():
    # z2 solves an affine map fed by z1: v1 = (I - W')^-1 v2.
    x = some_x()
    affine = lambda z, x: z @ W.T + x  # noqa: E731
    z_star(z_star(x, affine), affine).sum().backward()
    v = affine_solution(W.T, affine_solution(W.T, torch.ones(2, 3, dtype=F64)))
    torch.testing.assert_close(x.grad, v, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gradient", [Implicit(), JacobianFree()])
def test_nothing_requires_grad_if_nothing_that_f_uses_does(gradient):
    assert not z_star(some_x().detach(), gradient=gradient).requires_grad
    with torch.no_grad():
        assert not z_star(some_x(), gradient=gradient).requires_grad
    constant = lambda z, x: torch.ones_like(z)  # noqa: E731
    assert not z_star(some_x(), constant, gradient=gradient).requires_grad


def test_an_argument_that_f_ignores_gets_no_gradient():
    x, unused = some_x(), some_x()
    f = lambda z, x, unused: cell(z, x)  # noqa: E731
    value = fixed_point(f, torch.zeros(2, 3, dtype=F64), x, unused, solver=SOLVER).value
    value.sum().backward()
    assert x.grad is not None
    assert unused.grad is None


def test_a_map_that_does_not_depend_on_z_has_the_plain_gradient():
    x = some_x()
    z_star(x, lambda z, x: x.exp()).sum().backward()
    torch.testing.assert_close(x.grad, x.detach().exp(), rtol=1e-12, atol=0)


def test_a_value_made_in_inference_mode_warm_starts_a_recorded_solve():
    x = some_x()
    with torch.inference_mode():
        start = z_star(x)
    assert start.is_inference()
    value = fixed_point(cell, start, x, solver=SOLVER).value
    value.sum().backward()
    expected = torch.autograd.grad(z_star(x).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, rtol=1e-9, atol=1e-9)


KINDS = {
    "Implicit": (Implicit(), SOLVER),
    "accuracy": (Implicit(accuracy=1e-6), SOLVER),
    "Dense": (Implicit(solver=Dense()), SOLVER),
    "JacobianFree": (JacobianFree(), SOLVER),
    "Phantom": (Phantom(), SOLVER),
    "Shine": (Shine(), Broyden(rtol=1e-12, atol=0.0)),
}


@pytest.mark.parametrize("through", ["argument", "closure"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_backward_pass_frees_what_f_computed_while_the_loss_lives(kind, through):
    x, alive = some_x(), []
    gradient, solver = KINDS[kind]

    def f(z, *args):
        inner = torch.tanh(z @ W.T)
        alive.append(StorageWeakRef(inner.untyped_storage()))
        return torch.tanh(inner + (args[0] if args else x))

    gc.collect()
    gc.disable()
    try:
        args = (x,) if through == "argument" else ()
        options = {"solver": solver, "gradient": gradient}
        value = fixed_point(f, torch.zeros(2, 3, dtype=F64), *args, **options).value
        loss = value.sum()
        assert not all(storage.expired() for storage in alive)  # the tape
        loss.backward()
        assert all(storage.expired() for storage in alive)
    finally:
        gc.enable()


def test_a_value_left_unused_frees_its_graph_too():
    x, alive = some_x(), []

    def f(z, x):
        out = cell(z, x)
        alive.append(weakref.ref(out))
        return out

    gc.collect()
    gc.disable()
    try:
        value = z_star(x, f)
        del value
        assert all(tensor() is None for tensor in alive)
    finally:
        gc.enable()


@pytest.mark.parametrize("gradient", [Implicit(), JacobianFree()])
def test_one_evaluation_is_recorded_however_many_steps_are_taken(gradient):
    recorded = []

    def f(z, x):
        recorded.append(torch.is_grad_enabled())
        return cell(z, x)

    z_star(some_x(), f, gradient=gradient).sum().backward()
    assert len(recorded) > 5
    assert recorded == [False] * (len(recorded) - 1) + [True]
