"""A matrix of low rank and a multiple of the identity, against its dense self."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.kernels import LowRankPlusIdentity
from tests.problems import F64, normal


def example(n, ranks, shift, seed=0):
    factors = [normal(n, r, seed=seed + i) for i, r in enumerate(ranks)]
    core = normal(sum(ranks), sum(ranks), seed=seed + 9)
    return LowRankPlusIdentity(factors, core + core.T, shift)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5), st.integers(0, 1000))
def test_everything_is_what_the_dense_matrix_has(n, first, second, seed):
    matrix = example(n, [first, second], 0.7, seed)
    dense = matrix.dense()
    scale = float(dense.abs().max())
    torch.testing.assert_close(
        matrix.eigvalsh(), torch.linalg.eigvalsh(dense), rtol=0, atol=1e-11 * scale * n
    )
    v = normal(n, 3, seed=seed + 5)
    torch.testing.assert_close(matrix.matmul(v), dense @ v)
    torch.testing.assert_close(matrix.matmul(v[:, 0]), dense @ v[:, 0])
    torch.testing.assert_close(matrix.diagonal(), dense.diagonal())
    k = min(2, n, first + second)
    values, vectors = matrix.leading(k)
    torch.testing.assert_close(dense @ vectors, vectors * values, rtol=0, atol=1e-8 * scale)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(k, dtype=F64), rtol=0, atol=1e-8)


def test_dependent_columns_are_no_trouble():
    u = normal(20, 3, seed=0)
    matrix = LowRankPlusIdentity([u, u], torch.eye(6, dtype=F64), 0.1)
    assert matrix.rank == 3
    dense = matrix.dense()
    torch.testing.assert_close(matrix.eigvalsh(), torch.linalg.eigvalsh(dense), rtol=0, atol=1e-12)


def test_leading_is_what_is_farthest_from_the_shift_on_either_side():
    u = torch.eye(6, dtype=F64)[:, :3]
    core = torch.diag(torch.tensor([1.0, -4.0, 2.0], dtype=F64))
    values, vectors = LowRankPlusIdentity([u], core, 0.5).leading(2)
    torch.testing.assert_close(values, torch.tensor([-3.5, 2.5], dtype=F64))
    torch.testing.assert_close(vectors.abs(), u[:, [1, 2]])


def test_more_leading_values_than_the_rank_are_refused():
    with pytest.raises(ValueError, match="k must be 1 to 3"):
        example(20, [3], 0.5).leading(4)
