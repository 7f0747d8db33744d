"""Products J v and dense Jacobians, against torch.func row by row."""

import pytest
import torch
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from deqlab.linalg import products
from deqlab.linalg.products import jacobian
from deqlab.linalg.tangents import jvp
from tests.problems import F64, matrix, normal

# Torch's own: the formulas of its forward mode are scripted.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

W = matrix(4, norm=2.0, seed=0)
Z, V = normal(3, 4, seed=1), normal(3, 4, seed=2)


def cell(z):
    return torch.tanh(z @ W.T) * z.roll(1, dims=1)


def dense(f, z):
    return torch.stack([torch.func.jacrev(lambda r: f(r[None])[0])(row) for row in z])


def times(j, v):
    return torch.einsum("bij,bj->bi", j, v)


class Once(torch.autograd.Function):
    """z^2, with a backward pass that has no derivative, no rule for batches, and forward mode."""

    @staticmethod
    def forward(ctx, z):
        ctx.z = z
        return z**2

    @staticmethod
    @once_differentiable
    def backward(ctx, cotangent):
        # Batched tensors have no memory of their own: vmap fails here.
        return torch.from_numpy(2 * ctx.z.detach().numpy() * cotangent.numpy())

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * ctx.z * tangent


def test_both_are_those_of_dense_calculus_row_by_row():
    expected = dense(cell, Z)
    out, product = jvp(cell, Z)
    torch.testing.assert_close(product(V), times(expected, V), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(product(2 * V), 2 * product(V), rtol=1e-12, atol=1e-12)
    same, j = jacobian(cell, Z)
    torch.testing.assert_close(j, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(out, cell(Z))
    assert torch.equal(same, out)
    assert not out.requires_grad
    assert not j.requires_grad
    assert not product(V).requires_grad


def test_f_is_evaluated_once():
    calls = []
    f = lambda z: (calls.append(1), cell(z))[1]  # noqa: E731
    _, product = jvp(f, Z)
    for _ in range(3):
        product(V)
    assert len(calls) == 1
    jacobian(f, Z)
    assert len(calls) == 2


@pytest.mark.parametrize("numbers", [1, 12, 25, 10**9])
def test_the_jacobian_is_the_same_however_many_rows_of_it_are_found_at_once(monkeypatch, numbers):
    whole = jacobian(cell, Z)[1]
    monkeypatch.setattr(products, "AT_ONCE", numbers)
    torch.testing.assert_close(jacobian(cell, Z)[1], whole, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_both_work_in_every_mode(mode):
    expected = dense(cell, Z)
    with mode():
        z, v = Z + 0, V + 0  # made in that mode
        out, product = jvp(cell, z)
        tangent = product(v)
        _, j = jacobian(cell, z)
    torch.testing.assert_close(tangent, times(expected, V), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(j, expected, rtol=1e-12, atol=1e-12)
    assert not out.requires_grad


def test_operations_without_second_derivative_or_batching_rule_are_served_all_the_same():
    f = lambda z: Once.apply(z) @ W.T  # noqa: E731
    expected = dense(lambda z: z**2 @ W.T, Z)
    _, product = jvp(f, Z)
    torch.testing.assert_close(product(V), times(expected, V), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jacobian(f, Z)[1], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "f",
    [lambda z: torch.ones_like(z), lambda z: torch.ones_like(z).requires_grad_()],
    ids=["no tape", "another tape"],
)
def test_a_map_that_ignores_z_has_a_zero_jacobian(f):
    assert not jvp(f, Z)[1](V).any()
    assert not jacobian(f, Z)[1].any()
    assert jacobian(f, Z)[1].shape == (3, 4, 4)


def test_the_identity_has_the_identity():
    assert torch.equal(jvp(lambda z: z, Z)[1](V), V)
    assert torch.equal(jacobian(lambda z: z, Z)[1], torch.eye(4, dtype=F64).expand(3, 4, 4))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_empty_states_have_empty_jacobians(shape):
    z = torch.zeros(shape)
    assert jacobian(torch.tanh, z)[1].shape == (*shape, shape[1])
    assert jvp(torch.tanh, z)[1](z).shape == shape


def test_a_parameter_that_needs_a_gradient_gets_none():
    w = W.clone().requires_grad_()
    _, product = jvp(lambda z: torch.tanh(z @ w.T), Z)
    product(V)
    jacobian(lambda z: torch.tanh(z @ w.T), Z)
    assert w.grad is None


def test_hooks_on_saved_tensors_see_nothing_of_either():
    # Checkpointing would rerun everything before it for each product.
    fetched = []
    with saved_tensors_hooks(lambda t: t, lambda t: (fetched.append(1), t)[1]):
        _, product = jvp(cell, Z)
        tangent = product(V)
        _, j = jacobian(cell, Z)
    assert not fetched
    torch.testing.assert_close(tangent, times(dense(cell, Z), V), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(j, dense(cell, Z), rtol=1e-12, atol=1e-12)
