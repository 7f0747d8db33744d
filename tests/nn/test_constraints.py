"""Constraints keep what they promise for every free matrix, by dense linear algebra."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.nn import SpectralNorm, Triangular, Unconstrained
from tests.problems import F64, normal

free_matrices = st.builds(
    lambda dim, seed, log10: 10.0**log10 * normal(dim, dim, seed=seed),
    st.integers(1, 6),
    st.integers(0, 10**6),
    st.integers(-6, 6),
)
bounds = st.sampled_from([0.1, 0.5, 0.95, 1.0])


@given(free=free_matrices, bound=bounds)
def test_the_spectral_norm_is_the_smaller_of_the_bound_and_that_of_the_free_matrix(free, bound):
    w = SpectralNorm(bound)(free)
    norm = torch.linalg.svdvals(free)[0]
    torch.testing.assert_close(
        torch.linalg.svdvals(w)[0], norm.clamp(max=bound), rtol=1e-12, atol=0
    )
    # The direction is that of the free matrix.
    torch.testing.assert_close(w * norm, free * norm.clamp(max=bound), rtol=1e-10, atol=0)


def test_a_matrix_within_the_bound_is_left_as_it_is():
    free = 0.1 * torch.eye(3, dtype=F64)
    assert torch.equal(SpectralNorm(0.5)(free), free)
    assert torch.equal(SpectralNorm()(torch.zeros(3, 3)), torch.zeros(3, 3))


@given(free=free_matrices, bound=bounds)
def test_triangular_is_zero_above_the_diagonal_and_bounded_on_it(free, bound):
    w = Triangular(bound)(free)
    rows, columns = torch.meshgrid(torch.arange(len(w)), torch.arange(len(w)), indexing="ij")
    assert (w[columns > rows] == 0).all()
    assert torch.equal(w[columns < rows], free[columns < rows])
    assert (w.diagonal().abs() <= bound).all()
    torch.testing.assert_close(
        w.diagonal(), bound * torch.tanh(free.diagonal()), rtol=1e-12, atol=0
    )


def test_unconstrained_is_the_identity():
    free = normal(3, 3, seed=0)
    assert Unconstrained()(free) is free


@pytest.mark.parametrize("constraint", [SpectralNorm(0.7), Triangular(0.7)])
def test_a_constraint_is_differentiable(constraint):
    assert torch.autograd.gradcheck(constraint, normal(3, 3, seed=1).requires_grad_())


def test_a_zero_matrix_has_a_finite_gradient():
    free = torch.zeros(3, 3, dtype=F64, requires_grad=True)
    SpectralNorm()(free).sum().backward()
    assert free.grad.isfinite().all()


@pytest.mark.parametrize("constraint", [SpectralNorm, Triangular])
@pytest.mark.parametrize("bound", [0.0, -0.5, 1.5])
def test_a_bound_outside_its_domain_is_refused(constraint, bound):
    with pytest.raises(ValueError, match=rf"bound must be in \(0, 1\], got {bound}"):
        constraint(bound)


def test_a_constraint_has_no_state():
    assert not list(SpectralNorm().state_dict())
    assert not list(Triangular().state_dict())
    assert repr(SpectralNorm(0.5)) == "SpectralNorm(bound=0.5)"
    assert repr(Triangular(0.5)) == "Triangular(bound=0.5)"
