"""The Hessenberg matrix of a map on its Krylov space."""

import pytest
import torch

from deqlab.linalg.arnoldi import hessenberg
from tests.problems import F64, matrix, normal


def eigenvalues(h):
    values = torch.linalg.eigvals(h)
    # A stable order: by real part, then by imaginary part, to rounding.
    return sorted((round(v.real, 8), round(v.imag, 8)) for v in values.tolist())


@pytest.mark.parametrize("dim", [1, 2, 5, 8])
def test_a_full_krylov_space_has_the_eigenvalues_of_the_dense_matrix(dim):
    a = torch.stack([matrix(dim, norm=3.0, seed=s) for s in (8, 9, 10)])
    h, rest = hessenberg(
        lambda v: torch.einsum("bij,bj->bi", a, v), normal(3, dim, seed=11), steps=dim
    )
    assert rest.abs().max() < 1e-10
    for one, dense in zip(h, a, strict=True):
        torch.testing.assert_close(
            torch.tensor(eigenvalues(one)), torch.tensor(eigenvalues(dense)), rtol=1e-6, atol=1e-6
        )


def test_the_hessenberg_matrix_is_the_projection_of_the_map():
    # A V_k = V_k H_k + h e_k': checked through invariants of V_k' A V_k that need no basis.
    a, start = matrix(6, norm=1.0, seed=12), normal(1, 6, seed=13)
    h, rest = hessenberg(lambda v: v @ a.T, start, steps=3)
    krylov = torch.stack([start[0], a @ start[0], a @ a @ start[0]], dim=1)
    basis, _ = torch.linalg.qr(krylov)
    projected = basis.T @ a @ basis
    torch.testing.assert_close(h[0].trace(), projected.trace(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.linalg.det(h[0]), torch.linalg.det(projected), rtol=1e-7, atol=1e-12
    )
    leftover = (a @ basis - basis @ projected).norm()
    torch.testing.assert_close(rest[0], leftover, rtol=1e-6, atol=1e-12)
    assert (h[0].tril(-2) == 0).all()


def test_an_exhausted_krylov_space_leaves_zeros_and_exact_eigenvalues():
    # A projection onto two directions: from a start within them the space has dimension two.
    a = torch.diag(torch.tensor([2.0, -1.0, 0.0, 0.0], dtype=F64))
    start = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=F64)
    h, rest = hessenberg(lambda v: v @ a.T, start, steps=4)
    assert rest.tolist() == [0.0]
    assert eigenvalues(h[0]) == [(-1.0, 0.0), (0.0, 0.0), (0.0, 0.0), (2.0, 0.0)]


def test_no_more_products_than_dimensions_are_taken():
    calls = []
    hessenberg(lambda v: (calls.append(1), v * 0.5)[1], normal(2, 3, seed=14), steps=40)
    assert len(calls) == 3


def test_the_basis_stays_orthogonal_where_one_pass_of_gram_schmidt_loses_it():
    # Eigenvalues 1, 1/10, 1/100, ...: each product lies almost within the space there is.
    scales = 10.0 ** -torch.arange(8, dtype=F64)
    basis = []
    hessenberg(lambda v: (basis.append(v), v * scales)[1], torch.ones(1, 8, dtype=F64), steps=8)
    q = torch.cat(basis)
    torch.testing.assert_close(q @ q.T, torch.eye(8, dtype=F64), rtol=0, atol=1e-13)
