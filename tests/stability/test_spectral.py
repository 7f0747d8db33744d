"""The measured spectral radius against dense eigenvalues."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import NewtonKrylov, Picard, Status, fixed_point
from deqlab.stability import is_attracting, leading_eigenvalue, spectral_radius
from tests.problems import F64, generator, matrix, normal, rotation


def radius_of(w):
    return torch.linalg.eigvals(w).abs().max()


@pytest.mark.parametrize("angle", [0.3, 1.5707963267948966, 3.0])
def test_the_radius_of_a_scaled_rotation_is_its_scale(angle):
    # At a right angle v'Jv is 0 for every v: a Rayleigh quotient would read 0.
    w = rotation(angle, scale=0.9)
    radius = spectral_radius(lambda z: z @ w.T, torch.zeros(3, 2, dtype=F64), steps=5)
    torch.testing.assert_close(radius, torch.full((3,), 0.9, dtype=F64), rtol=1e-10, atol=0)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.5707963267948966, 3.141592653589793])
def test_the_leading_eigenvalue_of_a_scaled_rotation_has_its_angle(angle):
    w = rotation(angle, scale=0.9)
    leading = leading_eigenvalue(lambda z: z @ w.T, torch.zeros(3, 2, dtype=F64))
    torch.testing.assert_close(leading.abs(), torch.full((3,), 0.9, dtype=F64), rtol=1e-10, atol=0)
    # An eigenvalue that is double is found to the root of rounding only.
    expected = torch.full((3,), angle, dtype=F64)
    torch.testing.assert_close(leading.angle().abs(), expected, rtol=0, atol=1e-6)


@given(dim=st.integers(1, 9), seed=st.integers(0, 10**6), norm=st.floats(0.01, 100))
def test_the_radius_of_a_dense_matrix_is_that_of_its_eigenvalues(dim, seed, norm):
    w = matrix(dim, norm=norm, seed=seed)
    z = normal(2, dim, seed=seed + 1)
    radius = spectral_radius(lambda z: z @ w.T, z, generator=generator(0))
    torch.testing.assert_close(radius, radius_of(w).expand(2), rtol=1e-6, atol=0)


def test_each_row_has_the_radius_of_its_own_jacobian():
    w, z = matrix(4, norm=1.5, seed=0), normal(3, 4, seed=1)
    f = lambda z, x: torch.tanh(z @ w.T + x)  # noqa: E731
    x = normal(3, 4, seed=2)
    slope = 1 - torch.tanh(z @ w.T + x) ** 2
    expected = torch.stack([radius_of(s[:, None] * w) for s in slope])
    torch.testing.assert_close(spectral_radius(f, z, x), expected, rtol=1e-8, atol=0)


def test_few_steps_find_an_isolated_outer_eigenvalue():
    w = torch.diag(torch.cat([torch.tensor([-0.95]), torch.linspace(-0.5, 0.5, 99)]).double())
    radius = spectral_radius(
        lambda z: z @ w, torch.zeros(2, 100, dtype=F64), steps=25, generator=generator(3)
    )
    torch.testing.assert_close(radius, torch.full((2,), 0.95, dtype=F64), rtol=1e-3, atol=0)


def test_a_nilpotent_jacobian_has_radius_zero():
    w = 100 * torch.ones(3, 3, dtype=F64).tril(-1)
    radius = spectral_radius(lambda z: z @ w.T, torch.zeros(1, 3, dtype=F64))
    # Eigenvalues of a perturbed Jordan block of size 3: (1e-16)^(1/3) of its norm.
    assert radius.item() < 1e-3 * 200


def test_a_state_of_several_tensors_is_one_jacobian():
    w = matrix(5, norm=1.0, seed=4)

    def f(state):
        z = torch.cat([state["a"], state["b"]], dim=1) @ w.T
        return {"a": z[:, :2], "b": z[:, 2:]}

    z = {"a": torch.zeros(3, 2, dtype=F64), "b": torch.zeros(3, 3, dtype=F64)}
    torch.testing.assert_close(spectral_radius(f, z), radius_of(w).expand(3), rtol=1e-8, atol=0)


def test_a_nan_row_is_nan_and_the_others_are_as_without_it():
    w, z = matrix(4, norm=0.9, seed=5), normal(3, 4, seed=6)
    f = lambda z: torch.tanh(z @ w.T)  # noqa: E731
    clean = spectral_radius(f, z, generator=generator(7))
    z[1, 0] = torch.nan
    radius = spectral_radius(f, z, generator=generator(7))
    assert radius[1].isnan()
    assert torch.equal(radius[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_state_has_radius_zero(shape):
    assert torch.equal(spectral_radius(lambda z: z, torch.zeros(shape)), torch.zeros(shape[0]))


def test_the_radius_keeps_the_dtype_and_leaves_no_tape():
    w = matrix(3, norm=0.9, seed=8).float().requires_grad_()
    radius = spectral_radius(lambda z: z @ w.T, torch.zeros(2, 3))
    assert radius.dtype == torch.float32
    assert not radius.requires_grad


def test_a_generator_makes_it_repeatable():
    w, z = matrix(60, norm=1.0, seed=9), torch.zeros(1, 60, dtype=F64)
    first, second = (
        spectral_radius(lambda z: z @ w.T, z, steps=5, generator=generator(10)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_steps_below_one_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        spectral_radius(lambda z: z, torch.zeros(1, 2), steps=0)


def test_a_riccati_solution_that_does_not_stabilise_is_told():
    # P = Q + A'P A - A'P B (R + B'P B)^-1 B'P A has several fixed points; one of them stabilises.
    # Its Jacobian is X -> C'X C with C = A - B K, whose spectral radius is that of C squared.
    a = torch.tensor([[1.26, 0.1], [0.0, 0.9]], dtype=F64)
    b, q = torch.ones(2, 1, dtype=F64), 1e-4 * torch.eye(2, dtype=F64)

    def gain(p):
        return torch.linalg.solve(1 + b.T @ p @ b, b.T @ p @ a)

    def f(p):
        return q + a.T @ p @ a - a.T @ p @ b @ gain(p)

    p0 = torch.zeros(1, 2, 2, dtype=F64)
    for solver, stabilises in ((NewtonKrylov(max_steps=500), False), (Picard(max_steps=500), True)):
        solution = fixed_point(f, p0, solver=solver)
        assert solution.status.tolist() == [Status.CONVERGED]
        closed = (a - b @ gain(solution.value[0])).detach()
        expected = torch.linalg.eigvals(closed).abs().max() ** 2
        assert bool(expected < 1) == stabilises
        torch.testing.assert_close(
            spectral_radius(f, solution.value)[0], expected, rtol=1e-6, atol=0
        )
        assert is_attracting(f, solution).tolist() == [stabilises]
        assert is_attracting(f, solution.value).tolist() == [stabilises]


def test_a_coupled_state_has_one_radius():
    f = lambda z: 1.5 * z.flip(0)  # noqa: E731, row by row its Jacobian would be zero
    assert not is_attracting(f, torch.zeros(2, 1, dtype=F64), batched=False)
    radius = spectral_radius(f, torch.zeros(2, 1, dtype=F64), batched=False)
    torch.testing.assert_close(radius, torch.tensor([1.5], dtype=F64))


def test_what_is_not_finite_attracts_nothing():
    f = lambda z: torch.tensor([[0.5], [torch.nan]]) * z  # noqa: E731
    assert is_attracting(f, torch.ones(2, 1)).tolist() == [True, False]
