"""How long a gradient lives, and what must not change it: other solves, modes, copies."""

import copy
import pickle

import pytest
import torch

from deqlab import DEQ, fixed_point
from deqlab.nn import DenseCell, SpectralNorm
from tests.contracts.dense import at, tanh_gradients
from tests.contracts.gradients import every_gradient, exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

W = matrix(3, norm=0.5, seed=0)
X, Y = normal(2, 3, seed=1), normal(2, 3, seed=2)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def z_star(case, w, x):
    options = {"solver": case.solver, "gradient": case.gradient}
    return fixed_point(cell, torch.zeros_like(x), w, x, **options).value


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def some_deq(case):
    case = at(case, 1e-9)  # what is compared does not hang on the tolerance
    torch.manual_seed(0)
    bounded = DenseCell(3, 4, activation=torch.tanh, constraint=SpectralNorm(0.5), gain=2.0)
    return DEQ(bounded, solver=case.solver, gradient=case.gradient, on_failure="raise").double()


def gradients(deq, x):
    """The gradients of the mean square of the output, the free matrix of the cell first."""
    inputs = [*deq.parameters(), x]
    return torch.autograd.grad(deq(x).square().mean(), inputs)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        # The same operations on the same numbers; sums may run in another order.
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@every_gradient
def test_two_forwards_before_one_backward_add_the_two_gradients(case):
    w, x, y = leaves(W, X, Y)
    first = torch.autograd.grad(z_star(case, w, x).sum(), (w, x))
    second = torch.autograd.grad(z_star(case, w, y).square().sum(), (w, y))
    (z_star(case, w, x).sum() + z_star(case, w, y).square().sum()).backward()
    assert_same((w.grad, x.grad, y.grad), (first[0] + second[0], first[1], second[1]))


@every_gradient
def test_the_backward_of_an_older_solve_is_not_disturbed_by_a_newer_one(case):
    w, x, y = leaves(W, X, Y)
    expected = torch.autograd.grad(z_star(case, w, x).sum(), (w, x))
    older = z_star(case, w, x)
    newer = z_star(case, w, y)
    newer.sum().backward()
    w.grad = None
    older.sum().backward()
    assert_same((w.grad, x.grad), expected)


@exact_gradients
def test_solves_in_a_row_share_one_tape(case):
    # The second solve starts from nothing that the first left, but its input is the first's value.
    w, x = leaves(W, X)
    z_star(case, w, z_star(case, w, x)).sum().backward()
    first, _, _ = tanh_gradients(W, X, torch.zeros_like(X))
    _, by_first, by_w = tanh_gradients(W, first, torch.ones_like(X))
    _, by_x, by_w_before = tanh_gradients(W, X, by_first)
    # Two solves to 1e-13, each amplified by 1 / (1 - 0.5).
    torch.testing.assert_close(x.grad, by_x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(w.grad, by_w + by_w_before, rtol=1e-9, atol=1e-9)


@every_gradient
def test_a_retained_graph_gives_the_same_gradient_again_and_adds_it(case):
    w, x = leaves(W, X)
    loss = z_star(case, w, x).square().sum()
    loss.backward(retain_graph=True)
    once = (w.grad.clone(), x.grad.clone())
    loss.backward(retain_graph=True)
    assert_same((w.grad, x.grad), [2 * g for g in once])
    assert_same(torch.autograd.grad(loss, (w, x)), once)


@every_gradient
def test_a_second_backward_over_a_freed_graph_is_refused_or_right(case):
    w, x = leaves(W, X)
    loss = z_star(case, w, x).sum()
    loss.backward()
    once = (w.grad.clone(), x.grad.clone())
    try:
        loss.backward()
    except RuntimeError as error:
        refused = str(error)
    else:
        assert_same((w.grad, x.grad), [2 * g for g in once])
        return
    assert "retain_graph" in refused
    assert_same((w.grad, x.grad), once)


@every_gradient
def test_a_layer_gives_the_same_bits_in_every_mode(case):
    deq = some_deq(case)
    trained = deq.train()(X)
    assert trained.requires_grad
    trained_gradients = gradients(deq, X.clone().requires_grad_())
    assert torch.equal(deq.eval()(X), trained)
    assert_same(gradients(deq, X.clone().requires_grad_()), trained_gradients)
    for mode in (torch.no_grad, torch.inference_mode):
        for switch in (deq.train, deq.eval):
            with mode():
                value = switch()(X)
            assert torch.equal(value, trained)
            assert not value.requires_grad


@every_gradient
def test_a_value_of_inference_mode_may_start_a_solve_that_is_trained(case):
    deq, x = some_deq(case), X.clone().requires_grad_()
    with torch.inference_mode():
        start = 0.9 * deq(X)
    value = deq.solve(x, z0=start).value
    # Two solves to 1e-9, amplified by 1 / (1 - 0.5).
    torch.testing.assert_close(value, deq(X), rtol=1e-8, atol=1e-8)
    value.sum().backward()
    assert x.grad.isfinite().all()


@every_gradient
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"]
)
def test_a_copy_of_a_layer_keeps_value_gradient_and_settings(case, duplicate):
    deq, x = some_deq(case), X.clone().requires_grad_()
    pending = deq(x)  # its graph is alive while the layer is copied
    twin = duplicate(deq)
    assert torch.equal(twin(x), pending)
    assert_same(gradients(twin, x), gradients(deq, x))
    assert (twin.solver, twin.gradient, twin.on_failure) == (
        deq.solver,
        deq.gradient,
        deq.on_failure,
    )
    before = deq(x).detach()
    with torch.no_grad():
        twin.cell.inject.bias.add_(1.0)
    assert torch.equal(deq(x), before)
    assert not torch.equal(twin(x), before)


@every_solver
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_solver_is_the_same_value_after_a_round_trip(solver, protocol):
    twin = pickle.loads(pickle.dumps(solver, protocol=protocol))
    assert twin == solver == copy.deepcopy(solver)
    assert hash(twin) == hash(solver)
    assert repr(twin) == repr(solver)


@every_gradient
def test_a_gradient_is_the_same_value_after_a_round_trip(case):
    twin = pickle.loads(pickle.dumps(case.gradient))
    assert twin == case.gradient == copy.deepcopy(case.gradient)
    assert hash(twin) == hash(case.gradient)
    assert repr(twin) == repr(case.gradient)


@every_gradient
def test_a_solution_can_be_copied_to_another_process_once_it_is_detached(case):
    solution = fixed_point(
        lambda z: cell(z, W, X), torch.zeros(2, 3, dtype=F64), solver=case.solver
    )
    twin = pickle.loads(pickle.dumps(solution))
    assert torch.equal(twin.value, solution.value)
    assert twin.status.tolist() == solution.status.tolist()
