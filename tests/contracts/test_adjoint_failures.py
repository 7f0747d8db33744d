"""A backward pass that fails says so, and spoils no row but its own."""

import warnings
from dataclasses import fields, replace

import pytest
import torch

from deqlab import (
    ConvergenceError,
    ConvergenceWarning,
    Implicit,
    Picard,
    Status,
    fixed_point,
)
from tests.contracts.dense import tanh_gradients
from tests.contracts.gradients import GRADIENTS, every_gradient, parameters, untaped_gradients
from tests.problems import F64, affine_solution, matrix, normal, symmetric_with

HEALTHY, SICK = [0, 2], 1
W, X, U = matrix(3, norm=0.5, seed=0), normal(3, 3, seed=1), normal(3, 3, seed=2)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def solve(case, f, *args, z0=None, on_failure="ignore"):
    z0 = torch.zeros(3, 3, dtype=F64) if z0 is None else z0
    options = {"solver": case.solver, "gradient": case.gradient, "on_failure": on_failure}
    return fixed_point(f, z0, *args, **options)


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def starved(case):
    """The case with an adjoint solve of one product, or None where there is none to starve."""
    solver = getattr(case.gradient, "solver", None)
    names = {f.name for f in fields(solver)} if solver is not None else set()
    limits = dict.fromkeys(names & {"max_steps", "max_products"}, 1)
    if not limits:
        return None
    return replace(case, gradient=replace(case.gradient, solver=replace(solver, **limits)))


STARVED = {name: starved(case) for name, case in GRADIENTS.items() if starved(case)}
every_starved = pytest.mark.parametrize("case", parameters(STARVED))


@every_starved
def test_a_missed_adjoint_raises_out_of_backward_and_keeps_its_verdict(case):
    w, x = leaves(W, X)
    solution = solve(case, cell, w, x, on_failure="raise")
    with pytest.raises(ConvergenceError, match=r"adjoint of fixed_point: 3 of 3 samples missed"):
        solution.value.backward(U)
    assert [a.converged.any().item() for a in solution.adjoint] == [False]


@every_starved
def test_a_missed_adjoint_warns_and_passes_its_best_iterate(case):
    w, x = leaves(W, X)
    solution = solve(case, cell, w, x, on_failure="warn")
    with pytest.warns(ConvergenceWarning, match=r"adjoint of fixed_point: samples missed"):
        solution.value.backward(U)
    assert [a.converged.any().item() for a in solution.adjoint] == [False]
    assert x.grad.isfinite().all()
    assert w.grad.isfinite().all()


@every_starved
def test_a_missed_adjoint_that_is_ignored_is_silent_and_keeps_its_verdict(case):
    w, x = leaves(W, X)
    solution = solve(case, cell, w, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution.value.backward(U)
    assert [a.converged.any().item() for a in solution.adjoint] == [False]


@every_starved
def test_a_missed_adjoint_of_the_second_derivative_raises_too(case):
    # create_graph=True takes another way through the node; it must not be silent either.
    w, x = leaves(W, X)
    solution = solve(case, cell, w, x, on_failure="raise")
    with pytest.raises(ConvergenceError, match="adjoint of fixed_point"):
        torch.autograd.grad(solution.value, x, U, create_graph=True)
    assert [a.converged.any().item() for a in solution.adjoint] == [False]


def test_an_adjoint_of_spectral_radius_almost_one_is_not_called_converged_in_few_steps():
    # After k steps Picard's v is short of the exact one by 0.9999^k of what is missing: the
    # residual is small, 1e-4 of the error, and must not be mistaken for it.
    w, x = symmetric_with([0.9999, 0.5, -0.3], seed=3), X.clone().requires_grad_()
    affine = lambda z, x: z @ w.T + x  # noqa: E731
    gradient = Implicit(solver=Picard(rtol=1e-6, atol=0.0, max_steps=20))
    start = affine_solution(w, X)  # so that the forward solve has nothing to do
    solution = fixed_point(affine, start, x, gradient=gradient, on_failure="warn")
    with pytest.warns(ConvergenceWarning, match=r"adjoint .* missed[\s\S]*still shrinks"):
        solution.value.backward(U)
    assert solution.adjoint[0].status.tolist() == [Status.MAX_STEPS] * 3
    # The verdict is right: v was recorded with the residual it has.
    v = solution.adjoint[0].value
    residual = (v @ w + U - v).norm(dim=1)
    torch.testing.assert_close(solution.adjoint[0].residual, residual, rtol=1e-8, atol=1e-12)


def test_the_default_adjoint_solves_what_it_says_it_solved_near_radius_one():
    eigenvalues = torch.cat([1 - torch.logspace(-4, -1, 8, dtype=F64), -torch.rand(8).double()])
    w = symmetric_with(eigenvalues.tolist(), seed=4)
    x, u = normal(3, 16, seed=5), normal(3, 16, seed=6)
    leaf = x.clone().requires_grad_()
    solution = fixed_point(
        lambda z, x: z @ w.T + x, affine_solution(w, x), leaf, on_failure="ignore"
    )
    solution.value.backward(u)
    (adjoint,) = solution.adjoint
    residual = (leaf.grad @ w + u - leaf.grad).norm(dim=1)
    torch.testing.assert_close(adjoint.residual, residual, rtol=1e-6, atol=1e-10)
    missed = (residual > adjoint.tolerance * (1 + 1e-6)) | ~residual.isfinite()
    assert not (missed & adjoint.converged).any()


@every_gradient
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_nonfinite_cotangent_leaves_the_gradients_of_other_rows(case, bad):
    w, x = leaves(W, X)
    clean = solve(case, cell, w, x)
    (expected,) = torch.autograd.grad(clean.value, x, U)
    cotangent = U.clone()
    cotangent[SICK, 0] = bad
    solution = solve(case, cell, w, x)
    solution.value.backward(cotangent)
    torch.testing.assert_close(x.grad[HEALTHY], expected[HEALTHY], rtol=1e-12, atol=1e-13)
    # The row itself stays non-finite, and so do shared weights: a loss scaler must see it.
    assert not x.grad[SICK].isfinite().all()
    assert not w.grad.isfinite().all()
    for adjoint in solution.adjoint:
        assert (adjoint.status == Status.NONFINITE).tolist() == [False, True, False]
        assert not case.exact or adjoint.converged.tolist() == [True, False, True]


@every_gradient
def test_rows_without_a_cotangent_get_a_gradient_of_exactly_zero_beside_one_that_fails(case):
    w, x = leaves(W, X)
    cotangent = torch.zeros_like(U)
    cotangent[SICK, 0] = torch.nan
    solution = solve(case, cell, w, x)
    solution.value.backward(cotangent)
    assert torch.equal(x.grad[HEALTHY], torch.zeros(2, 3, dtype=F64))


@every_gradient
def test_rows_without_a_cotangent_get_a_gradient_of_exactly_zero_and_converge(case):
    w, x = leaves(W, X)
    cotangent = U.clone()
    cotangent[SICK] = 0
    solution = solve(case, cell, w, x, on_failure="raise")
    solution.value.backward(cotangent)
    assert torch.equal(x.grad[SICK], torch.zeros(3, dtype=F64))
    assert (x.grad[HEALTHY] != 0).all()
    if case.exact:
        _, by_x, by_w = tanh_gradients(W, X, cotangent)
        torch.testing.assert_close(x.grad, by_x, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(w.grad, by_w, rtol=1e-8, atol=1e-9)


def infinite_slope(z, w, x):
    """A map that is finite with its value, but has no slope at zero in the sick row (sqrt)."""
    image = cell(z, w, x)
    sick = 0.5 * z[SICK : SICK + 1].abs().sqrt()
    return torch.cat([image[:SICK], sick, image[SICK + 1 :]])


def hidden_nan(z, w, x):
    """The trap of torch.where: finite everywhere, and 0 * nan in the slope of the sick row."""
    image, row = cell(z, w, x), z[SICK : SICK + 1]
    sick = torch.where(row < 1e9, 0.5 * row + x[SICK], torch.sqrt(row - 1e9))
    return torch.cat([image[:SICK], sick, image[SICK + 1 :]])


@untaped_gradients
@pytest.mark.parametrize("f", [infinite_slope, hidden_nan])
def test_a_slope_without_value_in_one_row_leaves_all_other_gradients(case, f):
    w, x = leaves(W, X)
    solution = solve(case, f, w, x)
    assert solution.status.tolist() == [Status.CONVERGED] * 3  # nothing is wrong with the value
    solution.value.backward(U)
    wanted = leaves(W, X[HEALTHY])
    two = torch.zeros(2, 3, dtype=F64)
    value = solve(case, cell, *wanted, z0=two).value
    by_w, by_x = torch.autograd.grad(value, wanted, U[HEALTHY])
    torch.testing.assert_close(x.grad[HEALTHY], by_x, rtol=1e-9, atol=1e-9)
    # w acts on the healthy rows alone here, and must not hear of the sick one.
    torch.testing.assert_close(w.grad, by_w, rtol=1e-9, atol=1e-9)
    for adjoint in solution.adjoint:
        assert (adjoint.status == Status.NONFINITE).tolist() == [False, True, False]
        assert not case.exact or adjoint.converged.tolist() == [True, False, True]


@every_starved
@pytest.mark.parametrize("f", [infinite_slope, hidden_nan])
def test_a_slope_without_value_raises_out_of_backward_if_asked_to(case, f):
    case = next(c for n, c in GRADIENTS.items() if STARVED.get(n) is case)
    solution = solve(case, f, *leaves(W, X), on_failure="raise")
    with pytest.raises(ConvergenceError, match=r"adjoint of fixed_point: 1 of 3 .* 1 non-finite"):
        solution.value.backward(U)
