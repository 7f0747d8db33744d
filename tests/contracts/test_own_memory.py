"""What a solve returns is its own memory: writing to it changes nothing else, and the other way."""

from dataclasses import replace

import pytest
import torch

from deqlab import DEQ, Anderson, Implicit, JacobianFree, Picard, fixed_point
from deqlab.nn import DenseCell
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


@both_modes
@pytest.mark.parametrize("start", [0.0, 2.0], ids=["solved", "had converged"])
def test_aux_is_apart_from_the_value_the_start_and_the_arguments(grad, start):
    z0, x = torch.full((3, 2), start, dtype=F64), torch.ones(3, 2, dtype=F64)
    more = {"y": torch.zeros(3, 2, dtype=F64)}

    def f(z, x, more):
        return 0.5 * z + x + more["y"], {"z": z, "x": x, "y": more["y"][:2], "own": (z - x, "name")}

    with torch.set_grad_enabled(grad):
        x.requires_grad_(grad)
        solution = fixed_point(
            f, z0, x, more, solver=Picard(rtol=1e-14, max_steps=90), has_aux=True
        )
    aux = solution.aux
    torch.testing.assert_close(aux["z"], solution.value, rtol=0, atol=0)
    assert aux["own"][1] == "name"
    if grad:  # the copy is one for the tape as well
        (by_x,) = torch.autograd.grad(aux["z"].sum(), x, retain_graph=True)
        torch.testing.assert_close(by_x, torch.full_like(x, 2.0), rtol=1e-9, atol=1e-9)
    tensors = [aux["z"], aux["x"], aux["y"], aux["own"][0], solution.value]
    assert_apart([t.detach() for t in tensors], [z0, x.detach(), more["y"]])


def test_the_last_verdicts_of_a_layer_are_apart_from_those_that_it_returned():
    deq = DEQ(DenseCell(3, 4), gradient=Implicit(accuracy=1e-3))
    solution = deq.solve(torch.randn(5, 3))
    names = [n for n, held in vars(deq.last).items() if isinstance(held, torch.Tensor)]
    assert {"residual", "tolerance", "status", "steps", "trace", "error"} <= set(names)
    for name in names:
        kept = getattr(deq.last, name).clone()
        getattr(solution, name).add_(1)
        torch.testing.assert_close(getattr(deq.last, name), kept, equal_nan=True)
