"""has_aux: what f returns beside the state, at the value."""

import pytest
import torch
from torch import nn

from deqlab import Anderson, fixed_point
from tests.contracts.gradients import exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

W, X = matrix(4, norm=0.7, seed=0), normal(3, 4, seed=1)


def f(z, x):
    inner = z @ W.T + x
    return torch.tanh(inner), {"before": inner, "size": z.square().sum(dim=1), "name": "aux"}


def state_of(z, x):
    return f(z, x)[0]


@every_solver
def test_aux_is_that_of_the_value_and_changes_nothing_else(solver):
    plain = fixed_point(state_of, torch.zeros_like(X), X, solver=solver)
    solution = fixed_point(f, torch.zeros_like(X), X, solver=solver, has_aux=True)
    assert torch.equal(solution.value, plain.value)
    assert torch.equal(solution.status, plain.status)
    assert solution.evaluations == plain.evaluations + 1
    expected = f(solution.value, X)[1]
    assert solution.aux["name"] == "aux"
    for name in ("before", "size"):
        torch.testing.assert_close(solution.aux[name], expected[name], rtol=1e-12, atol=0)
    assert plain.aux is None


@exact_gradients
def test_gradients_flow_through_aux_as_through_the_value(case):
    def gradient(loss):
        x = X.clone().requires_grad_()
        return torch.autograd.grad(loss(x), x)[0]

    options = {"solver": case.solver, "gradient": case.gradient}

    def by_aux(x):
        solution = fixed_point(f, torch.zeros_like(X), x, has_aux=True, **options)
        return solution.aux["before"].sin().sum() + solution.aux["size"].sum()

    def by_hand(x):
        z = fixed_point(state_of, torch.zeros_like(X), x, **options).value
        aux = f(z, x)[1]
        return aux["before"].sin().sum() + aux["size"].sum()

    torch.testing.assert_close(gradient(by_aux), gradient(by_hand), rtol=1e-9, atol=1e-12)


def test_aux_sees_the_dropout_mask_of_the_solve():
    torch.manual_seed(0)

    def dropped(z):
        mask = nn.functional.dropout(torch.ones_like(z), 0.5)
        return 0.3 * torch.tanh(z * mask) + 1, mask

    solution = fixed_point(dropped, torch.zeros(5, 8, dtype=F64), has_aux=True)
    expected = 0.3 * torch.tanh(solution.value * solution.aux) + 1
    torch.testing.assert_close(solution.value, expected, rtol=1e-3, atol=0)


def test_rows_may_leave_and_aux_has_them_all():
    solver = Anderson(rtol=1e-9)
    solution = fixed_point(
        f, torch.zeros_like(X), X, solver=solver, has_aux=True, rows_independent=True
    )
    assert solution.aux["before"].shape == X.shape


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (lambda z: z, "one Tensor"),
        (lambda z: (z,), "a tuple of 1"),
        (lambda z: (z, 1, 2), "a tuple of 3"),
    ],
)
def test_an_f_that_returns_no_aux_is_told_so(returned, sentence):
    with pytest.raises(ValueError, match=f"has_aux: f must return a tuple of two, .*{sentence}"):
        fixed_point(returned, torch.zeros(1, 1), has_aux=True)
