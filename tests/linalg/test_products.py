"""Products with a Jacobian, against dense linear algebra."""

import pytest
import torch

from deqlab.linalg.products import linearize, vjp
from tests.problems import F64, matrix, normal

W = matrix(4, norm=2.0, seed=0)


def cell(z):
    return torch.tanh(z @ W.T) * z.roll(1, dims=1)


def dense_jacobians(f, z):
    return torch.stack([torch.func.jacrev(lambda r: f(r[None])[0])(row) for row in z])


def test_the_product_is_with_the_transposed_dense_jacobian_row_by_row():
    z, v = normal(3, 4, seed=1), normal(3, 4, seed=2)
    leaf, out, product = linearize(cell, z)
    expected = torch.einsum("bij,bi->bj", dense_jacobians(cell, z), v)
    torch.testing.assert_close(product(v), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(out, cell(z))
    assert torch.equal(leaf, z)
    torch.testing.assert_close(product(2 * v), 2 * expected, rtol=1e-12, atol=1e-12)


def test_linearize_works_where_gradients_are_switched_off():
    with torch.no_grad():
        _, _, product = linearize(cell, normal(2, 4, seed=3))
        assert product(normal(2, 4, seed=4)).abs().sum() > 0


@pytest.mark.parametrize(
    "f",
    [
        lambda z: torch.ones_like(z),
        lambda z: torch.ones_like(z).requires_grad_(),
    ],
    ids=["no tape", "another tape"],
)
def test_a_map_that_ignores_z_has_a_zero_product(f):
    _, _, product = linearize(f, normal(2, 3, seed=5))
    assert torch.equal(product(torch.ones(2, 3, dtype=F64)), torch.zeros(2, 3, dtype=F64))


def test_a_recorded_product_can_be_differentiated():
    z = normal(2, 3, seed=6).requires_grad_()
    v = normal(2, 3, seed=7)
    product = vjp(z**3, z, create_graph=True)
    (second,) = torch.autograd.grad(product(v).sum(), z)
    torch.testing.assert_close(second, 6 * z.detach() * v, rtol=1e-12, atol=1e-12)
