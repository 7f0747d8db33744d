"""Dropout inside a solve: one mask for all evaluations, or there is no fixed point to find.

With a mask m held, z = (m * z) W' + x is linear, row by row:

    z = (I - W diag m)^-1 x    =>    dL/dx = v = (I - W diag m)^-T u
"""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from deqlab import DEQ
from tests.contracts.gradients import every_gradient, exact_gradients, twice_exact_gradients
from tests.problems import affine_solution, matrix, normal

# Norm 0.25, and a mask of 0 and 2 (p = 1/2) at most doubles it.
W, X = matrix(6, norm=0.25, seed=0), normal(4, 6, seed=1)


class DroppedCell(nn.Module):
    """(m z) W' + x, with all masks that it was given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(W.clone())
        self.dropout = nn.Dropout(0.5)
        self.masks = []

    def forward(self, z, x):
        mask = self.dropout(torch.ones_like(z))
        self.masks.append(mask.detach().clone())
        return (mask * z) @ self.weight.T + x


def some_deq(case):
    solver = case.solver
    return DEQ(DroppedCell(), solver=solver, gradient=case.gradient, on_failure="raise")


def masked_solution(mask, x, u):
    """z* and dL/dx for the mask, by one dense solve a row."""
    pairs = [
        (affine_solution(W * m, a[None]), affine_solution((W * m).T, b[None]))
        for m, a, b in zip(mask, x, u, strict=True)
    ]
    return tuple(torch.cat(column) for column in zip(*pairs, strict=True))


def only_mask(deq):
    """The mask of all evaluations since the last call."""
    first, *rest = deq.cell.masks
    deq.cell.masks.clear()
    assert all(torch.equal(mask, first) for mask in rest)
    return first


@exact_gradients
def test_one_mask_holds_for_the_solve_its_tape_and_its_adjoint(case):
    deq, x, u = some_deq(case), X.clone().requires_grad_(), normal(4, 6, seed=2)
    value = deq(x)
    torch.rand(7)  # between forward and backward others draw from the generator too
    value.backward(u)
    mask = only_mask(deq)
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    z, v = masked_solution(mask, X, u)
    # Solves to 1e-13, amplified by 1 / (1 - 0.5).
    torch.testing.assert_close(value, z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x.grad, v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(deq.cell.weight.grad, v.T @ (mask * z), rtol=1e-8, atol=1e-8)


@every_gradient
def test_every_solve_draws_a_mask_of_its_own_for_every_row(case):
    deq, masks = some_deq(case), []
    for _ in range(3):
        deq(X)
        masks.append(only_mask(deq))
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])
    assert len(masks[0].unique(dim=0)) > 1


@every_gradient
def test_a_seed_fixes_the_mask_and_the_solve_moves_the_generator_on(case):
    deq = some_deq(case)
    torch.manual_seed(3)
    first, second = deq(X), deq(X)
    torch.manual_seed(3)
    again = deq(X)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@exact_gradients
def test_two_forwards_before_one_backward_keep_a_mask_each(case):
    deq, x, u = some_deq(case), X.clone().requires_grad_(), torch.ones_like(X)
    first = deq(x)
    one = only_mask(deq)
    second = deq(x)
    two = only_mask(deq)
    (first.sum() + second.sum()).backward()
    expected = masked_solution(one, X, u)[1] + masked_solution(two, X, u)[1]
    torch.testing.assert_close(x.grad, expected, rtol=1e-9, atol=1e-9)


@twice_exact_gradients
def test_second_derivatives_see_the_mask_of_the_solve(case):
    deq, x, u = some_deq(case), X.clone().requires_grad_(), torch.ones_like(X)
    value = deq(x)
    torch.rand(7)
    (by_x,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    torch.rand(7)
    # L = sum v, with v = (I - W diag m)^-T u:  dL/dW = v' (m y) with y = (I - W diag m)^-1 1.
    (by_w,) = torch.autograd.grad(by_x.sum(), deq.cell.weight)
    mask = only_mask(deq)
    y, v = masked_solution(mask, torch.ones_like(X), u)
    torch.testing.assert_close(by_x, v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_w, v.T @ (mask * y), rtol=1e-8, atol=1e-8)


@exact_gradients
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_layer_sees_one_mask_in_forward_and_backward(case, reentrant):
    deq, x, u = some_deq(case), X.clone().requires_grad_(), torch.ones_like(X)
    value = checkpoint(deq, x, use_reentrant=reentrant)
    torch.rand(7)
    value.backward(u)
    z, v = masked_solution(only_mask(deq), X, u)
    torch.testing.assert_close(value, z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x.grad, v, rtol=1e-9, atol=1e-9)


@every_gradient
def test_in_eval_mode_nothing_is_dropped(case):
    deq = some_deq(case).eval()
    torch.testing.assert_close(deq(X), affine_solution(W, X), rtol=1e-9, atol=1e-9)
