"""Products with a Jacobian, and Krylov spaces, against dense linear algebra."""

import pytest
import torch

from deqlab.linalg.products import arnoldi, linearize, vjp
from tests.problems import F64, matrix, normal

W = matrix(4, norm=2.0, seed=0)


def cell(z):
    return torch.tanh(z @ W.T) * z.roll(1, dims=1)


def dense_jacobians(f, z):
    return torch.stack([torch.func.jacrev(lambda r: f(r[None])[0])(row) for row in z])


def eigenvalues(h):
    values = torch.linalg.eigvals(h)
    # A stable order: by real part, then by imaginary part, to rounding.
    return sorted((round(v.real, 8), round(v.imag, 8)) for v in values.tolist())


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


@pytest.mark.parametrize("dim", [1, 2, 5, 8])
def test_a_full_krylov_space_has_the_eigenvalues_of_the_dense_matrix(dim):
    a = torch.stack([matrix(dim, norm=3.0, seed=s) for s in (8, 9, 10)])
    hessenberg, rest = arnoldi(
        lambda v: torch.einsum("bij,bj->bi", a, v), normal(3, dim, seed=11), steps=dim
    )
    assert rest.abs().max() < 1e-10
    for h, dense in zip(hessenberg, a, strict=True):
        torch.testing.assert_close(
            torch.tensor(eigenvalues(h)), torch.tensor(eigenvalues(dense)), rtol=1e-6, atol=1e-6
        )


def test_the_hessenberg_matrix_is_the_projection_of_the_map():
    # A V_k = V_k H_k + h e_k': checked through invariants of V_k' A V_k that need no basis.
    a, start = matrix(6, norm=1.0, seed=12), normal(1, 6, seed=13)
    hessenberg, rest = arnoldi(lambda v: v @ a.T, start, steps=3)
    krylov = torch.stack([start[0], a @ start[0], a @ a @ start[0]], dim=1)
    basis, _ = torch.linalg.qr(krylov)
    projected = basis.T @ a @ basis
    torch.testing.assert_close(hessenberg[0].trace(), projected.trace(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.linalg.det(hessenberg[0]), torch.linalg.det(projected), rtol=1e-7, atol=1e-12
    )
    leftover = (a @ basis - basis @ projected).norm()
    torch.testing.assert_close(rest[0], leftover, rtol=1e-6, atol=1e-12)
    assert (hessenberg[0].tril(-2) == 0).all()


def test_an_exhausted_krylov_space_leaves_zeros_and_exact_eigenvalues():
    # A projection onto two directions: from a start within them the space has dimension two.
    a = torch.diag(torch.tensor([2.0, -1.0, 0.0, 0.0], dtype=F64))
    start = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=F64)
    hessenberg, rest = arnoldi(lambda v: v @ a.T, start, steps=4)
    assert rest.tolist() == [0.0]
    assert eigenvalues(hessenberg[0]) == [(-1.0, 0.0), (0.0, 0.0), (0.0, 0.0), (2.0, 0.0)]


def test_no_more_products_than_dimensions_are_taken():
    calls = []
    arnoldi(lambda v: (calls.append(1), v * 0.5)[1], normal(2, 3, seed=14), steps=40)
    assert len(calls) == 3


def test_the_basis_stays_orthogonal_where_one_pass_of_gram_schmidt_loses_it():
    # Eigenvalues 1, 1/10, 1/100, ...: each product lies almost within the space there is.
    scales = 10.0 ** -torch.arange(8, dtype=F64)
    basis = []
    arnoldi(lambda v: (basis.append(v), v * scales)[1], torch.ones(1, 8, dtype=F64), steps=8)
    q = torch.cat(basis)
    torch.testing.assert_close(q @ q.T, torch.eye(8, dtype=F64), rtol=0, atol=1e-13)
