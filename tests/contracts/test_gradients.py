"""What every gradient computes, against dense solves and closed forms.

z = z W' + x    =>    dL/dx = v,    dL/dW = v' z*,    with v = u (I - W)^-1 and u = dL/dz*
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given

from deqlab import fixed_point
from tests.contracts.gradients import (
    every_gradient,
    exact_gradients,
    inexact_gradients,
    pathless_gradients,
)
from tests.problems import F64, affine_solution, contractions, matrix, normal


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def affine(z, w, x):
    return z @ w.T + x


def loosened(gradient):
    """The gradient with tolerances that float32 can meet."""
    if getattr(gradient, "accuracy", None) is not None:
        return replace(gradient, accuracy=1e-5)
    if hasattr(getattr(gradient, "solver", None), "rtol"):
        return replace(gradient, solver=replace(gradient.solver, rtol=1e-5))
    return gradient


def solve(case, f, z0, *args, **changes):
    solver = replace(case.solver, **changes)
    return fixed_point(f, z0, *args, solver=solver, gradient=case.gradient)


@exact_gradients
@pytest.mark.parametrize("norm", [0.1, 0.5, 0.9])
def test_gradient_of_an_affine_map_is_the_dense_solution(case, norm):
    w, x, u = matrix(5, norm=norm, seed=0), normal(3, 5, seed=1), normal(3, 5, seed=2)
    w.requires_grad_()
    x.requires_grad_()
    solve(case, affine, torch.zeros(3, 5, dtype=F64), w, x).value.backward(u)
    v = affine_solution(w.detach().T, u)
    z = affine_solution(w.detach(), x.detach())
    # Solves to 1e-13, amplified by 1 / (1 - 0.9), and Anderson's unrolled least squares.
    torch.testing.assert_close(x.grad, v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(w.grad, v.T @ z, rtol=1e-8, atol=1e-8)


@exact_gradients
def test_gradient_of_the_scalar_map_is_its_closed_form(case):
    # z = wz + 1 has z* = 1 / (1 - w) and dz*/dw = 1 / (1 - w)^2.
    w = torch.tensor([[0.8], [-0.5], [0.1]], dtype=F64, requires_grad=True)
    solve(case, lambda z, w: w * z + 1, torch.zeros_like(w), w).value.sum().backward()
    torch.testing.assert_close(w.grad, (1 - w.detach()) ** -2, rtol=1e-9, atol=1e-9)


@exact_gradients
def test_gradient_of_a_tanh_cell_is_that_of_finite_differences(case):
    w, x = matrix(2, norm=0.7, seed=3), normal(2, 2, seed=4)
    z0 = torch.zeros_like(x)
    assert torch.autograd.gradcheck(
        lambda w, x: solve(case, cell, z0, w, x).value, (w.requires_grad_(), x.requires_grad_())
    )


@inexact_gradients
def test_an_inexact_gradient_is_a_descent_direction_of_a_strong_contraction(case):
    # Fung et al. (2022), Thm 3.1, where |J| is at most 1/2.
    w, x, u = matrix(4, norm=0.5, seed=5), normal(3, 4, seed=6), normal(3, 4, seed=7)
    x.requires_grad_()
    solve(case, affine, torch.zeros(3, 4, dtype=F64), w, x).value.backward(u)
    exact = affine_solution(w.T, u)
    assert ((x.grad * exact).sum(dim=1) > 0).all()


@every_gradient
@given(problem=contractions(max_dim=4, max_batch=3))
def test_value_is_the_same_bits_with_and_without_gradients(case, problem):
    def run(x):
        return solve(case, cell, problem.z0, problem.w, x, rtol=1e-8)

    plain = run(problem.x)
    with_tape = run(problem.x.clone().requires_grad_())
    with torch.no_grad():
        switched_off = run(problem.x.clone().requires_grad_())
    with torch.inference_mode():
        inference = run(problem.x)
    assert with_tape.value.requires_grad
    for other in (with_tape, switched_off, inference):
        assert torch.equal(other.value, plain.value)
        assert torch.equal(other.steps, plain.steps)
        assert other.evaluations == plain.evaluations


@every_gradient
@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_of_none_or_one_goes_forward_and_backward(case, batch):
    w, x = matrix(3, norm=0.5, seed=8).requires_grad_(), normal(batch, 3, seed=9).requires_grad_()
    value = solve(case, cell, torch.zeros(batch, 3, dtype=F64), w, x).value
    if case.taped and not value.requires_grad:
        assert not batch  # no row took a step
        return
    value.sum().backward()
    assert x.grad.shape == (batch, 3)
    assert w.grad.shape == (3, 3)
    assert (w.grad.abs().sum() > 0) == (batch > 0)


@every_gradient
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_gradients_keep_the_dtype(case, dtype):
    w = matrix(4, norm=0.5, seed=10).to(dtype).requires_grad_()
    x = normal(3, 4, seed=11).to(dtype).requires_grad_()
    single = replace(case, solver=replace(case.solver, rtol=1e-5))
    if dtype == torch.float32:
        single = replace(single, gradient=loosened(case.gradient))
    solve(single, affine, torch.zeros(3, 4, dtype=dtype), w, x).value.sum().backward()
    assert w.grad.dtype == x.grad.dtype == dtype
    if case.exact:
        u = torch.ones(3, 4, dtype=F64)
        gold = affine_solution(w.detach().double().T, u)
        # The adjoint is solved to 1e-5, amplified by 1 / (1 - 0.5).
        torch.testing.assert_close(x.grad.double(), gold, rtol=1e-4, atol=1e-4)


@every_gradient
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_loss_scales_the_gradient_and_nothing_else(case, scale):
    def gradient(scale):
        x = normal(3, 4, seed=13).requires_grad_()
        value = solve(case, cell, torch.zeros(3, 4, dtype=F64), w, x, rtol=1e-10).value
        (scale * value.sum()).backward()
        return x.grad / scale

    w = matrix(4, norm=0.8, seed=12)
    torch.testing.assert_close(gradient(scale), gradient(1.0), rtol=1e-9, atol=1e-9)


@every_gradient
def test_rows_outside_the_loss_get_a_zero_gradient(case):
    w, x = matrix(4, norm=0.8, seed=14), normal(3, 4, seed=15).requires_grad_()
    solve(case, cell, torch.zeros(3, 4, dtype=F64), w, x).value[1].sum().backward()
    assert torch.equal(x.grad[[0, 2]], torch.zeros(2, 4, dtype=F64))
    assert (x.grad[1] != 0).all()


@pathless_gradients
def test_a_row_gets_the_gradient_it_gets_alone(case):
    # Rates from easy to hard: each row, and each adjoint row, finishes at another step.
    rates = torch.tensor([0.05, 0.9, 0.3], dtype=F64)[:, None]
    w = matrix(4, norm=1.0, seed=16)

    def gradient(rows):
        x = normal(3, 4, seed=17)[rows].requires_grad_()
        z0 = torch.zeros_like(x)
        solve(case, lambda z, x: rates[rows] * cell(z, w, x), z0, x).value.sum().backward()
        return x.grad

    together = gradient([0, 1, 2])
    for i in range(3):
        torch.testing.assert_close(gradient([i])[0], together[i], rtol=1e-7, atol=1e-9)


@pathless_gradients
def test_each_tensor_of_a_state_carries_its_gradient(case):
    # The same cell, once on one tensor and once split into blocks that feed each other.
    w = matrix(4, norm=0.8, seed=18)

    def gradient(split):
        x = normal(2, 4, seed=19).requires_grad_()
        z0 = torch.zeros(2, 4, dtype=F64)
        if not split:
            value = solve(case, cell, z0, w, x).value
        else:
            f = lambda s, x: dict(  # noqa: E731
                zip("ab", cell(torch.cat([s["a"], s["b"]], 1), w, x).split([1, 3], 1), strict=True)
            )
            state = solve(case, f, {"a": z0[:, :1], "b": z0[:, 1:]}, x).value
            value = torch.cat([state["a"], state["b"]], dim=1)
        (value**2).sum().backward()
        return x.grad

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-7, atol=1e-9)


@every_gradient
def test_gradients_reach_args_closures_and_leaf_parameters_alike(case):
    # Four ways for the same number to enter f: they must get the same gradient.
    def gradient(how):
        x, w = normal(2, 3, seed=20).requires_grad_(), matrix(3, norm=0.7, seed=21)
        z0 = torch.zeros(2, 3, dtype=F64)
        if how == "argument":
            value = solve(case, lambda z, x: cell(z, w, x), z0, x).value
        elif how == "leaf in a closure":
            value = solve(case, lambda z: cell(z, w, x), z0).value
        elif how == "result in a closure":
            doubled = 2 * x
            value = solve(case, lambda z: cell(z, w, doubled / 2), z0).value
        else:
            value = solve(case, lambda z, pair: cell(z, w, pair[0]), z0, (x, None)).value
        value.sum().backward()
        return x.grad

    expected = gradient("argument")
    for how in ("leaf in a closure", "result in a closure", "tensor inside an argument"):
        torch.testing.assert_close(gradient(how), expected, rtol=1e-12, atol=1e-12)


@every_gradient
def test_the_start_gets_no_gradient(case):
    z0 = normal(2, 3, seed=22).requires_grad_()
    x = normal(2, 3, seed=23).requires_grad_()
    value = solve(case, lambda z, x: 0.5 * z.sin() + x, z0, x).value
    grad_z0, grad_x = torch.autograd.grad(value.sum(), (z0, x), allow_unused=True)
    assert grad_z0 is None
    assert grad_x is not None
