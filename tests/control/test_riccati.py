"""The regulator: scipy's Riccati solver, finite differences, and what has no solution."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are

from deqlab import ConvergenceError, NewtonKrylov, Picard
from deqlab.control import lqr
from deqlab.control.doubling import doubled
from deqlab.control.riccati import riccati

N, M = 5, 2


def systems(count, *, n=N, m=M, seed=0, radius=None):
    """Random systems with definite costs; their A as they are drawn, or of this spectral radius."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    a = drawn(n, n) / n**0.5
    if radius is not None:
        a = a * (radius / torch.linalg.eigvals(a).abs().amax(dim=1))[:, None, None]
    x, y = drawn(n, n), drawn(m, m)
    q, r = x @ x.mT / n, y @ y.mT / m + 0.1 * torch.eye(m, dtype=torch.float64)
    return a, drawn(n, m), q, r


def scipys(a, b, q, r):
    """P and K of one system by the generalised Schur decomposition of a symplectic pencil."""
    a, b, q, r = (each.numpy() for each in (a, b, q, r))
    p = solve_discrete_are(a, b, q, r)
    return p, np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)


@pytest.mark.parametrize("radius", [None, 0.5, 2.0])
def test_64_systems_are_scipys_and_stable(radius):
    given = systems(64, radius=radius)
    found = lqr(*given)
    for i in range(64):
        a, b, q, r = (each[i] for each in given)
        p, k = scipys(a, b, q, r)
        np.testing.assert_allclose(found.gain[i], k, atol=1e-8, rtol=0)
        np.testing.assert_allclose(found.cost[i], p, atol=1e-8 * abs(p).max())
        closed = a.numpy() - b.numpy() @ found.gain[i].numpy()
        measured = abs(np.linalg.eigvals(closed)).max()
        assert measured < 1
        assert abs(measured - float(found.radius[i])) < 1e-9


def test_the_costs_are_those_of_the_closed_loop():
    a, b, q, r = systems(1)
    found = lqr(a, b, q, r)
    x, total = torch.ones(1, N, 1, dtype=torch.float64), 0.0
    first = x
    for _ in range(2000):
        u = -found.gain @ x
        total = total + x.mT @ q @ x + u.mT @ r @ u
        x = a @ x + b @ u
    torch.testing.assert_close(total, first.mT @ found.cost @ first, rtol=1e-10, atol=0)


@pytest.mark.parametrize("part", range(4), ids=["A", "B", "Q", "R"])
def test_gradients_are_finite_differences_of_scipys_solution(part):
    given = [each[:1] for each in systems(1, n=3, seed=3, radius=1.3)]
    leaves = [each.clone().requires_grad_() for each in given]
    weights = torch.linspace(-1, 1, M * 3, dtype=torch.float64).view(M, 3)
    (weights * lqr(*leaves).gain[0]).sum().backward()

    def loss(i, j, step):
        moved = [each[0].clone() for each in given]
        moved[part][i, j] += step / 2
        if part >= 2:  # a quadratic form sees the symmetric part
            moved[part][j, i] += step / 2
        else:
            moved[part][i, j] += step / 2
        return float((weights.numpy() * scipys(*moved)[1]).sum())

    h = 1e-3
    for i, j in np.ndindex(*given[part].shape[1:]):
        near = (loss(i, j, h) - loss(i, j, -h)) / (2 * h)
        far = (loss(i, j, 2 * h) - loss(i, j, -2 * h)) / (4 * h)
        gold = (4 * near - far) / 3  # by Richardson: off by h^4
        assert abs(float(leaves[part].grad[0, i, j]) - gold) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4), ids=["A", "B", "Q", "R"])
def test_gradients_of_64_systems_are_finite_differences_of_scipys_solution(part):
    given = systems(64)
    leaves = [each.clone().requires_grad_() for each in given]
    weights = torch.linspace(-1, 1, M * N, dtype=torch.float64).view(M, N)
    (weights * lqr(*leaves).gain).sum().backward()
    generator = torch.Generator().manual_seed(1)
    way = torch.randn(given[part].shape, generator=generator, dtype=torch.float64)
    way = way / torch.linalg.matrix_norm(way, keepdim=True)
    if part >= 2:  # a quadratic form sees the symmetric part
        way = (way + way.mT) / 2
    for i in range(64):

        def loss(step, i=i):
            moved = [each[i].clone() for each in given]
            moved[part] += step * way[i]
            return float((weights.numpy() * scipys(*moved)[1]).sum())

        h = 1e-3
        gold = 8 * (loss(h) - loss(-h)) - loss(2 * h) + loss(-2 * h)
        found = float((leaves[part].grad[i] * way[i]).sum())
        assert found == pytest.approx(gold / (12 * h), rel=1e-7, abs=1e-7)


def test_k_doublings_are_2_to_the_k_steps():
    a, b, q, r = systems(3)
    p = torch.zeros_like(a)
    for _ in range(2**4):
        p = riccati(p, a, b, q, r)
    g = b @ torch.linalg.inv(r) @ b.mT
    # Without a doubling, H = Q is one step from 0.
    torch.testing.assert_close(doubled(a, g, q, doublings=4), p, rtol=1e-12, atol=1e-12)


def test_plain_iteration_from_q_takes_tens_of_steps_where_the_doubled_start_takes_one():
    given = systems(8)
    slow = lqr(*given, start=given[2], solver=Picard(rtol=1e-12, max_steps=2000, patience=200))
    fast = lqr(*given)
    torch.testing.assert_close(slow.gain, fast.gain, rtol=0, atol=1e-9)
    assert fast.solution.evaluations <= 3 < 10 < slow.solution.evaluations


def test_a_loop_near_the_unit_circle_is_solved():
    one = torch.ones(1, 1, dtype=torch.float64)
    found = lqr(0.99999 * one, 1e-4 * one, 1e-4 * one, one)  # 1 - radius is about 1e-5
    _, k = scipys(0.99999 * one, 1e-4 * one, 1e-4 * one, one)
    assert abs(float(found.gain) - k.item()) < 1e-8
    assert 0.9999 < float(found.radius) < 1


def test_leading_dimensions_are_broadcast():
    a, b, q, r = systems(6)
    found = lqr(a.view(2, 3, N, N), b[0], q[0], r[0])
    assert found.gain.shape == (2, 3, M, N)
    assert found.radius.shape == (2, 3)
    alone = lqr(a[4], b[0], q[0], r[0])
    assert alone.radius.shape == ()
    torch.testing.assert_close(alone.gain, found.gain[1, 1], rtol=0, atol=1e-10)


def test_a_solution_that_does_not_stabilise_is_refused():
    # P = 1 + 4 P / (1 + P) has the roots 2 +- sqrt(5); the lower one solves it, and leaves 2.6 x.
    one = torch.ones(1, 1, dtype=torch.float64)
    solver, start = NewtonKrylov(rtol=1e-12), -0.2 * one
    with pytest.raises(ConvergenceError, match=r"does not stabilise.*radius of 2\.618"):
        lqr(2 * one, one, one, one, solver=solver, start=start)
    assert abs(float(lqr(2 * one, one, one, one).cost) - (2 + 5**0.5)) < 1e-12


def test_an_unseen_unstable_mode_is_stabilised_all_the_same():
    # Q = 0 sees nothing: P = 0 solves the equation, and stabilises nothing.
    one = torch.ones(1, 1, dtype=torch.float64)
    found = lqr(2 * one, one, 0 * one, one)
    assert abs(float(found.cost) - 3) < 1e-9  # P = 4 P / (1 + P)
    assert abs(float(found.radius) - 0.5) < 1e-9


def test_what_has_no_stabilising_solution_is_refused_in_a_sentence():
    a = torch.diag(torch.tensor([1.2, 0.5], dtype=torch.float64))
    eye, away = torch.eye(2, dtype=torch.float64), torch.tensor([[0.0], [1.0]]).double()
    one = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"system 1 is not stabilisable.*eigenvalue 1\.2,"):
        lqr(a, torch.stack([away + 1, away]), eye, one)
    marginal = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    with pytest.raises(ValueError, match="Q of system 0 does not see the mode"):
        lqr(marginal, away + 1, torch.diag(torch.tensor([0.0, 1.0])).double(), one)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"q": -torch.eye(2)}, "Q must be positive semidefinite, got an eigenvalue of -1"),
        ({"r": torch.zeros(1, 1)}, "R must be positive definite, got an eigenvalue of 0"),
        ({"b": torch.zeros(3, 1)}, r"B must have the shape \(..., 2, 1\), got \(3, 1\)"),
        ({"a": torch.full((2, 2), torch.nan)}, "A must be finite"),
    ],
)
def test_arguments_of_no_system_are_refused(wrong, sentence):
    right = {"a": torch.eye(2), "b": torch.ones(2, 1), "q": torch.eye(2), "r": torch.eye(1)}
    with pytest.raises(ValueError, match=sentence):
        lqr(**right | wrong)
