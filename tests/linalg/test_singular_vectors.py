"""The Krylov singular vector against a dense decomposition."""

import torch

from deqlab.linalg.singular_vectors import largest_singular_vector
from tests.problems import normal


def found(a, dimensions, start=None):
    """For a stack of matrices, (G, E, D)."""
    start = normal(a.shape[0], a.shape[2], seed=9) if start is None else start
    return largest_singular_vector(
        lambda v: torch.einsum("ged,gd->ge", a, v),
        lambda u: torch.einsum("ged,ge->gd", a, u),
        start,
        dimensions,
    )


def test_with_all_dimensions_it_is_the_singular_vector_of_every_row():
    a = torch.stack([normal(5, 7, seed=1), 3 * normal(5, 7, seed=2)])
    v, right = found(a, 7), torch.linalg.svd(a)[2][:, 0]
    torch.testing.assert_close((v * right).sum(dim=1).abs(), torch.ones(2, dtype=v.dtype))
    torch.testing.assert_close(v.norm(dim=1), torch.ones(2, dtype=v.dtype))


def test_it_is_better_than_as_many_power_steps():
    a = torch.diag(torch.linspace(0.9, 1, 60, dtype=torch.float64))[None]
    start = normal(1, 60, seed=0)
    power = start
    for _ in range(20):
        power = power @ (a[0].T @ a[0])
        power = power / power.norm()
    norms = [float((v @ a[0].T).norm()) for v in (power, found(a, 20, start))]
    assert 1 - norms[1] < 0.2 * (1 - norms[0])


def test_an_exhausted_space_and_a_zero_map_leave_a_vector_of_norm_1():
    low = torch.outer(normal(4, seed=1), normal(6, seed=2))[None]
    v = found(low, 6)
    torch.testing.assert_close((low[0] @ v[0]).norm(), torch.linalg.matrix_norm(low[0], ord=2))
    v = found(torch.zeros(1, 4, 6, dtype=torch.float64), 6)
    torch.testing.assert_close(v.norm(), torch.ones((), dtype=v.dtype))
