"""What a solve returns is its own memory: writing to it changes nothing else, and the other way."""

from dataclasses import replace

import pytest
import torch

from deqlab import Anderson, Implicit, JacobianFree, Picard, fixed_point
from tests.contracts.solvers import every_solver
from tests.problems import F64, normal

both_modes = pytest.mark.parametrize("grad", [False, True], ids=["no grad", "grad"])


def assert_apart(values, others):
    """No two tensors of `values`, and none of them and one of `others`, feel each other."""
    tensors = [*values, *others]
    before = [t.detach().clone() for t in tensors]
    with torch.no_grad():
        for i, tensor in enumerate(tensors):
            tensor.add_(1.0 + i)
            for j, other in enumerate(tensors):
                expected = before[j] + (1.0 + j) if j <= i else before[j]
                assert torch.equal(other.detach(), expected), f"{i} wrote to {j}"


@every_solver
@both_modes
@pytest.mark.parametrize("pack", [lambda t: t, lambda t: {"z": t}], ids=["tensor", "dict"])
def test_a_start_that_had_converged_is_not_the_value(solver, grad, pack):
    z0 = torch.full((3, 2), 2.0, dtype=F64)
    f = lambda s: {"z": 0.5 * s["z"] + 1} if isinstance(s, dict) else 0.5 * s + 1  # noqa: E731
    with torch.set_grad_enabled(grad):
        solution = fixed_point(f, pack(z0), solver=solver)
    value = solution.value["z"] if isinstance(solution.value, dict) else solution.value
    assert solution.evaluations == 1
    assert_apart([value], [z0])


@every_solver
@both_modes
@pytest.mark.parametrize("captured", [False, True], ids=["argument", "captured"])
@pytest.mark.parametrize("view", ["itself", "reshaped", "with an offset"])
def test_a_tensor_that_f_returns_as_it_is_is_not_the_value(solver, grad, captured, view):
    x = normal(5, 2, seed=0)[:3].clone() if view != "with an offset" else normal(5, 2, seed=0)
    x = x.reshape(2, 3) if view == "reshaped" else x
    image = {
        "itself": lambda x: x,
        "reshaped": lambda x: x.view(3, 2),
        "with an offset": lambda x: x[1:4],
    }[view]
    with torch.set_grad_enabled(grad):
        if captured:
            solution = fixed_point(lambda z: image(x), torch.zeros(3, 2, dtype=F64), solver=solver)
        else:
            solution = fixed_point(
                lambda z, x: image(x), torch.zeros(3, 2, dtype=F64), x, solver=solver
            )
    assert_apart([solution.value], [x])


@every_solver
def test_recorded_states_are_apart_from_the_value_the_start_and_each_other(solver):
    z0, x = torch.zeros(3, 2, dtype=F64), normal(3, 2, seed=1)
    solver = replace(solver, record=(1, 2, 2, 500))
    with torch.no_grad():
        solution = fixed_point(lambda z: 0.5 * z + x, z0, solver=solver)
    assert torch.equal(solution.states[3], solution.value)
    assert_apart([solution.value, *solution.states], [z0, x])


def test_recorded_states_with_gradients_are_apart_too():
    z0, x = torch.zeros(3, 2, dtype=F64), normal(3, 2, seed=1).requires_grad_()
    for gradient in (Implicit(), JacobianFree()):
        solver = Picard(record=(1, 2, 2, 500))
        solution = fixed_point(lambda z, x: x * 1.0, z0, x, solver=solver, gradient=gradient)
        value = solution.value.detach()
        assert_apart([value, *(s.detach() for s in solution.states)], [z0, x.detach()])


def test_no_copy_is_made_where_nothing_is_shared():
    seen = []

    def f(z):
        seen.append(z)
        return 0.5 * z + 1

    with torch.no_grad():
        solution = fixed_point(f, torch.zeros(3, 2), solver=Anderson())
    assert solution.value.data_ptr() == seen[-1].data_ptr()


def test_writing_to_one_tensor_of_a_state_leaves_the_tape_of_the_others():
    x = normal(3, 2, seed=2).requires_grad_()
    f = lambda s, x: [0.5 * s[0] + x, 0.5 * s[1].sin() + x]  # noqa: E731
    zero = torch.zeros(3, 2, dtype=F64)
    first, second = fixed_point(f, [zero, zero], x).value
    loss = first.square().sum()  # keeps `first` for the backward pass
    second.mul_(2.0)
    (loss + second.sum()).backward()
    assert x.grad.isfinite().all()
