"""Certificates against dense eigenvalues, all patterns of slopes, and perturbations of their size.

With phi = relu the slopes S of two solutions are anything in [0, 1]: z = phi(W z + q) has one
solution for every q if and only if I - S W is nonsingular for all of them, which its determinant,
linear in each slope, decides at the corners.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import fixed_point
from deqlab.solvers import Newton
from deqlab.stability import (
    best_certificate,
    diagonal,
    every_certificate,
    infinity_norm,
    lipschitz_inequality,
    matrix_of,
    metzler,
    monotone,
    one_norm,
    perron_frobenius,
    triangular,
    two_norm,
)
from deqlab.stability.certificates.fixed_point_theorems import maps_into_itself
from deqlab.stability.certificates.multipliers import search
from tests.problems import F64, matrix, normal, rotation

THEOREMS = [
    two_norm,
    infinity_norm,
    one_norm,
    perron_frobenius,
    metzler,
    monotone,
    triangular,
    lipschitz_inequality,
]
every_theorem = pytest.mark.parametrize("theorem", THEOREMS)

weights = st.builds(
    lambda dim, seed, size, shape: shape(size * normal(dim, dim, seed=seed)),
    st.integers(1, 5),
    st.integers(0, 10**6),
    st.floats(0.01, 1.5),
    st.sampled_from([lambda w: w, torch.tril, lambda w: w - w.T, lambda w: w - torch.eye(len(w))]),
)
slopes = st.sampled_from([0.25, 1.0, 1.5])


def patterns(dim, slope):
    """All matrices of slopes whose entries are 0 or the largest."""
    for corner in itertools.product([0.0, slope], repeat=dim):
        yield torch.tensor(corner, dtype=F64)


def responses(w, slope):
    """S, and the derivative of the solution by q under each pattern of slopes."""
    eye = torch.eye(len(w), dtype=F64)
    for s in patterns(len(w), slope):
        yield s, torch.linalg.inv(eye - s[:, None] * w) * s


def well_posed(w, slope):
    eye = torch.eye(len(w), dtype=F64)
    return all(float(torch.linalg.det(eye - s[:, None] * w)) > 0 for s in patterns(len(w), slope))


@given(w=weights, slope=slopes)
def test_what_is_certified_has_one_solution_for_every_pattern_and_moves_no_farther(w, slope):
    for name, certificate in every_certificate(w, slope=slope).items():
        assert certificate.holds == (certificate.margin > 0), name
        if not certificate.holds:
            continue
        assert certificate.exists
        assert certificate.unique
        assert well_posed(w, slope)
        steepest = max(float(torch.linalg.matrix_norm(r, ord=2)) for _, r in responses(w, slope))
        if certificate.lipschitz is not None:
            assert steepest <= certificate.lipschitz * (1 + 1e-9), name
        if certificate.rate is not None:
            radius = max(
                float(torch.linalg.eigvals(s[:, None] * w).abs().max())
                for s in patterns(len(w), slope)
            )
            assert radius <= certificate.rate * (1 + 1e-9), name
            assert certificate.rate < 1


@given(w=weights, slope=slopes, seed=st.integers(0, 10**6))
def test_it_survives_the_change_of_weights_that_it_allows(w, slope, seed):
    dw = normal(*w.shape, seed=seed)
    u, v = normal(len(w), seed=seed), normal(len(w), seed=seed + 1)
    changes = [dw, torch.outer(u, v), torch.eye(len(w), dtype=F64), torch.ones_like(w)]
    for name, certificate in every_certificate(w, slope=slope).items():
        if certificate.perturbation is None:
            continue
        for change in changes:
            unit = change / torch.linalg.matrix_norm(change, ord=2)
            moved = w + (1 - 1e-6) * certificate.perturbation * unit
            assert well_posed(moved, slope), name


@given(w=weights)
def test_the_margins_are_those_of_dense_linear_algebra(w):
    found = every_certificate(w)
    eye = torch.eye(len(w), dtype=F64)
    radius = torch.linalg.eigvals(w.abs()).abs().max()
    metzler_part = w.abs().where(eye == 0, w)
    expected = {
        "two_norm": 1 - torch.linalg.svdvals(w)[0],
        "infinity_norm": 1 - w.abs().sum(dim=1).max(),
        "one_norm": 1 - w.abs().sum(dim=0).max(),
        "perron_frobenius": 1 - radius,
        "monotone": torch.linalg.eigvalsh(eye - (w + w.T) / 2)[0],
        "metzler": 1 - torch.linalg.eigvals(metzler_part).real.max(),
    }
    for name, margin in expected.items():
        # A triangular |W| is defective: rounding moves its eigenvalues, its vectors span orders.
        loose = 1e-2 if name in ("perron_frobenius", "metzler") else 1e-11
        assert found[name].margin == pytest.approx(float(margin), abs=loose * (1 + float(w.norm())))
    if torch.equal(w, w.tril()):
        assert found["triangular"].margin == pytest.approx(1 - float(w.diag().max()), abs=1e-12)


@given(w=weights)
def test_the_matrix_inequality_is_the_most_general_of_all(w):
    found = every_certificate(w)
    general = found.pop("lipschitz_inequality")
    for name, certificate in found.items():
        # Near the edge the Lambda of another proof may lie beyond what the search looks for.
        if certificate.holds and certificate.margin > 0.1 and w.norm() < 3:
            assert general.holds, name
    if found["monotone"].margin > 0.01:
        assert general.margin >= found["monotone"].margin * (1 - 1e-2)


def test_the_search_comes_within_a_per_cent_of_the_best_multipliers():
    w = torch.tensor([[0.2, 1.5], [0.1, -0.3]], dtype=F64)
    ratio, scale = (torch.logspace(-2, 2, 401, dtype=F64) for _ in range(2))
    # The largest m with 2 Lambda - Lambda W - W' Lambda >= m (I + Lambda^2), on a grid.
    lam = torch.stack(torch.broadcast_tensors(scale * ratio[:, None], scale / ratio[:, None]), -1)
    root = (1 + lam * lam).rsqrt()
    p = 2 * torch.diag_embed(lam) - lam[..., None] * w - (lam[..., None] * w).mT
    best = torch.linalg.eigvalsh(root[..., None] * p * root[..., None, :])[..., 0].max()
    found = lipschitz_inequality(w)
    assert 0.99 * best <= found.margin <= 1.001 * best
    assert found.margin <= search(w).largest


def test_the_derivatives_of_the_search_are_those_of_finite_differences():
    from deqlab.stability.certificates.multipliers import _barrier, _derivatives

    w, lam, s, tau = 0.4 * normal(4, 4, seed=0), torch.full((4,), 0.5, dtype=F64), -2.0, 3.0
    lam = lam + 0.1 * normal(4, seed=1)
    gradient, hessian = _derivatives(w, lam, _barrier(w, lam, s, tau)[1], tau)

    def at(point):
        left = point[:4, None] * w
        inside = torch.diag(2 * point[:4] - point[:4] ** 2 - point[4]) - left - left.T
        return tau * point[4] + torch.logdet(inside)

    point = torch.cat([lam, torch.tensor([s], dtype=F64)])
    torch.testing.assert_close(
        gradient, torch.autograd.functional.jacobian(at, point), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(
        hessian, -torch.autograd.functional.hessian(at, point), rtol=1e-9, atol=1e-9
    )


def test_bounds_that_are_attained():
    # |z - z'| = |q - q'| / (1 - c) for W = c I; one step comes closer by c; I - W - dW is singular.
    for certificate in (two_norm(0.6 * torch.eye(3)), diagonal(torch.full((3,), 0.6))):
        assert certificate.lipschitz == pytest.approx(1 / 0.4, rel=1e-6)
        assert certificate.rate == pytest.approx(0.6, rel=1e-6)
        assert certificate.perturbation == pytest.approx(0.4, rel=1e-6)
    # A positive W of equal sums has its largest response along 1, where dW = 0.3 11' / n acts too.
    w = torch.full((4, 4), 0.7 / 4, dtype=F64)
    for theorem in (perron_frobenius, metzler, monotone, lipschitz_inequality):
        certificate = theorem(w)
        assert certificate.lipschitz == pytest.approx(1 / 0.3, rel=1e-2)
        assert certificate.margin == pytest.approx(0.3, rel=1e-2)
    assert not well_posed(w + (perron_frobenius(w).perturbation * 2 + 1e-9) * torch.ones(4, 4), 1.0)
    # A rotation is as well-posed as no feedback at all, whatever its size.
    certificate = best_certificate(rotation(math.pi / 2, scale=50.0))
    assert (certificate.lipschitz, certificate.rate) == (pytest.approx(1.0), None)


def test_a_sum_of_a_row_or_a_column_bounds_the_euclidean_response_with_the_root_of_n():
    w = torch.zeros(16, 16, dtype=F64)
    w[:, 0] = 0.9  # one q moves all of z
    steepest = float(torch.linalg.matrix_norm(torch.linalg.inv(torch.eye(16) - w), ord=2))
    assert steepest > 3 / (1 - 0.9)
    for certificate in (infinity_norm(w), one_norm(w.T)):
        assert 0.9 * certificate.lipschitz <= steepest <= certificate.lipschitz


def test_a_diagonal_however_negative_does_no_harm_to_a_nondecreasing_activation():
    w = 0.1 * normal(5, 5, seed=0).abs() - 20 * torch.eye(5, dtype=F64)
    found = every_certificate(w)
    assert found["metzler"].holds
    assert found["metzler"].rate is None  # plain iteration diverges
    assert not found["perron_frobenius"].holds
    assert not best_certificate(w, nondecreasing=False).holds


def test_a_weight_at_or_past_the_edge_is_unknown_and_says_by_what_it_missed():
    certificate = best_certificate(1.01 * torch.eye(3))
    assert not certificate.holds
    for missed in ("2-norm: L |W|_2 = 1.01", "L rho(|W|) = 1.01", "monotone", "diagonal Lambda"):
        assert missed in certificate.theorem
    assert certificate.margin == pytest.approx(-0.01, abs=1e-6)
    for theorem in THEOREMS:
        assert not theorem(torch.eye(3)).holds  # z = relu(z + q): none, or many
        assert (
            theorem((1 - 1e-9) * torch.eye(3, dtype=F64)).holds or theorem is lipschitz_inequality
        )
        assert not theorem(torch.full((2, 2), torch.nan)).holds


def test_a_permuted_and_graded_triangle_is_seen_through_its_perron_vector():
    w = torch.triu(10.0 * normal(6, 6, seed=3).abs(), 1)
    w = w[[3, 0, 5, 1, 4, 2]][:, [3, 0, 5, 1, 4, 2]]  # nilpotent, and no theorem on norms sees it
    certificate = perron_frobenius(w)
    assert certificate.holds
    assert certificate.rate < 0.1
    assert not two_norm(w).holds


@pytest.mark.parametrize("seed", range(3))
def test_the_solution_is_found_from_several_starts_under_the_largest_change(seed):
    w = matrix(6, norm=0.7, seed=seed) + 2 * torch.triu(normal(6, 6, seed=seed + 10), 2)
    w = w - (torch.linalg.eigvals(w).abs().max() + 1.5) * torch.eye(6, dtype=F64)
    certificate = best_certificate(w)
    assert certificate.holds
    change = matrix(6, norm=0.999 * certificate.perturbation, seed=seed + 20)
    q = normal(1, 6, seed=seed + 30)
    ends = []
    for start in (torch.zeros(1, 6, dtype=F64), 10 * normal(1, 6, seed=1), -10 * torch.ones(1, 6)):
        solution = fixed_point(
            lambda z, w=w + change: torch.relu(z @ w.T + q),
            start.double(),
            solver=Newton(max_steps=200),
        )
        ends.append(solution.value)
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-7, atol=1e-8)


@given(w=weights, seed=st.integers(0, 10**6))
def test_two_points_are_never_farther_apart_than_the_bound(w, seed):
    certificate = best_certificate(w)
    if not certificate.holds:
        return
    for activation in (torch.relu, torch.tanh):
        q = 3 * normal(2, len(w), seed=seed)
        z = fixed_point(
            lambda z, q=q, phi=activation: phi(z @ w.T + q),
            torch.zeros_like(q),
            solver=Newton(rtol=1e-12, max_steps=100),
            on_failure="ignore",
        )
        if bool(z.converged.all()):
            moved = (z.value[0] - z.value[1]).norm() / (q[0] - q[1]).norm()
            assert moved <= certificate.lipschitz * (1 + 1e-8)


def test_a_map_given_by_products_is_certified_by_its_matrix():
    w = matrix(5, norm=0.8, seed=0)
    torch.testing.assert_close(matrix_of(lambda z: z @ w.T, 5), w)
    assert two_norm(matrix_of(lambda z: z @ w.T, 5)) == two_norm(w)


@every_theorem
def test_bad_arguments_are_refused(theorem):
    with pytest.raises(ValueError, match=r"W must be a square matrix, got the shape \(2, 3\)"):
        theorem(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"slope must be more than 0, and finite.*, got 0"):
        theorem(torch.zeros(2, 2), slope=0.0)


def test_multipliers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="multipliers must be 2 positive, finite numbers"):
        lipschitz_inequality(torch.zeros(2, 2), multipliers=torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"w must be a vector, got the shape \(2, 2\)"):
        diagonal(torch.zeros(2, 2))


def test_wide_weights_are_not_searched_unasked(monkeypatch):
    monkeypatch.setattr("deqlab.stability.certificates.strongest.WIDEST", 3)
    found = every_certificate(torch.zeros(4, 4))
    assert "not searched above a width of 3" in found["lipschitz_inequality"].theorem


def test_a_certificate_is_printed_as_lines_for_people():
    weight = torch.tensor([[0.2, -3.0], [3.0, 0.2]], dtype=F64)
    certificate = best_certificate(weight)  # I - (W + W') / 2 = 0.8 I
    assert str(certificate).splitlines() == [
        "Proved for every input: there is exactly one fixed point.",
        "Theorem: monotone: I - L (W + W') / 2 > 0 (Winston & Kolter 2020).",
        "Margin of the condition: 0.8.",
        "Still proved after any change of the weights whose spectral norm is below 0.8.",
        "Lipschitz bound: z* moves by at most 1.25 times what is added to the feedback (U x + b).",
        "Rate of plain iteration: not bounded by this theorem.",
    ]
    assert repr(certificate).startswith("Certificate(theorem=")
    contracts = two_norm(torch.diag(torch.tensor([0.25, 0.5])))
    assert "Rate of plain iteration: at most 0.5 a step." in str(contracts)


def test_what_is_not_proved_is_printed_as_unknown():
    unknown = str(two_norm(2 * torch.eye(2)))
    assert unknown.splitlines()[0] == "Nothing is proved. The map may be well-posed all the same."
    assert "Reason: 2-norm: L |W|_2 = 2 is not below 1." in unknown
    assert "Margin of the condition: -1." in unknown
    assert "Lipschitz" not in unknown
    exists = str(maps_into_itself("the unit ball"))
    assert "a fixed point exists" in exists
    assert "exactly one" not in exists
    assert "Margin" not in exists  # there is nothing to measure
