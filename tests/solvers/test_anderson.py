"""Anderson acceleration: what only it can pass."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status, fixed_point
from deqlab.solvers import Solver
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from tests.problems import (
    F64,
    Contraction,
    affine_solution,
    contractions,
    matrix,
    normal,
    symmetric_with,
)

COS = CountedMap(torch.cos)
RUNNING = np.ones(1, dtype=bool)


def affine(w, x):
    return lambda z: z @ w.T + x


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_an_affine_map_is_solved_in_dim_plus_two_evaluations(dim):
    # With a window of D it is GMRES (Walker & Ni 2011, Thm 2.2), which ends in D steps.
    # 1e-7: the ridge keeps a part of 1e-10, times the square of the condition number.
    w, x = matrix(dim, norm=0.9, seed=0), normal(4, dim, seed=1)
    solver = Anderson(memory=dim, rtol=1e-7, max_steps=dim + 2)
    solution = fixed_point(affine(w, x), torch.zeros_like(x), solver=solver)
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=0, atol=1e-5)


def test_residuals_on_an_affine_map_are_those_of_gmres():
    # Thm 2.2: z_{k+1} = f(z_k of GMRES), so that the residual at z_{k+1} is W r_k.
    dim = 6
    w, x = matrix(dim, norm=0.9, seed=2), normal(1, dim, seed=3)
    solver = Anderson(memory=dim, rtol=1e-12, max_steps=dim, growth=1e9)
    trace = fixed_point(
        affine(w, x), torch.zeros_like(x), solver=solver, on_failure="ignore"
    ).trace[:, 0]
    a = torch.eye(dim, dtype=F64) - w
    krylov = [x[0]]
    for k in range(1, dim - 1):
        # r_k: the least residual over span{x, Ax, ..., A^(k-1) x}.
        basis, _ = torch.linalg.qr(torch.stack(krylov, dim=1))
        y = torch.linalg.lstsq(a @ basis, x.T).solution
        expected = (w @ (x.T - a @ basis @ y)).norm()
        torch.testing.assert_close(trace[k + 1], expected, rtol=1e-5, atol=0)
        krylov.append(a @ krylov[-1])


def test_one_difference_is_the_secant_method_on_scalars():
    # z1 = f(z0); z2 by the secant of g through z0 and z1, computed here from its formula.
    z0, seen = 0.5, []
    f = lambda z: (seen.append(z.item()), torch.cos(z))[1]  # noqa: E731
    fixed_point(f, torch.full((1, 1), z0, dtype=F64), solver=Anderson(memory=1, rtol=1e-10))
    g = lambda z: torch.cos(torch.tensor(z, dtype=F64)).item() - z  # noqa: E731
    for a, b, c in zip(seen, seen[1:], seen[2:4], strict=False):
        assert c == pytest.approx(b - g(b) * (b - a) / (g(b) - g(a)), rel=1e-7)


def test_damping_moves_by_beta_of_the_least_squares_residual():
    # z2 = zbar + beta gbar with zbar = z1 - c dz, gbar = g1 - c dg and c = <dg, g1> / <dg, dg>.
    beta, seen = 0.4, []
    problem = Contraction(matrix(3, norm=0.8, seed=4), normal(1, 3, seed=5), 0.8)
    with torch.no_grad():
        fixed_point(
            lambda z: (seen.append(z), problem(z))[1],
            problem.z0,
            solver=Anderson(damping=beta, max_steps=3),
            on_failure="ignore",
        )
    z0, z1, z2 = seen
    g0, g1 = problem(z0) - z0, problem(z1) - z1
    torch.testing.assert_close(z1, z0 + beta * g0, rtol=1e-12, atol=1e-12)
    dg, dz = g1 - g0, z1 - z0
    c = (dg * g1).sum() / (dg * dg).sum()
    # 1e-8: the ridge, 1e-10 relative to dg.
    expected = z1 - c * dz + beta * (g1 - c * dg)
    torch.testing.assert_close(z2, expected, rtol=1e-8, atol=1e-8)


def test_symmetric_spectra_down_to_minus_three_are_solved_where_picard_diverges():
    w = symmetric_with([-3.0, -2.2, -1.5, -0.7, 0.0], seed=6)
    x = normal(3, 5, seed=7)
    f, z0 = affine(w, x), torch.zeros_like(x)
    assert not fixed_point(f, z0, solver=Picard(), on_failure="ignore").converged.any()
    solution = fixed_point(f, z0, solver=Anderson(rtol=1e-9))
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=1e-7, atol=1e-7)


def test_it_needs_fewer_evaluations_than_picard_on_a_slow_contraction():
    w, x = matrix(10, norm=0.97, seed=8, symmetric=True), normal(3, 10, seed=9)
    f, z0 = affine(w, x), torch.zeros_like(x)
    slow = fixed_point(f, z0, solver=Picard(rtol=1e-8, max_steps=2000))
    fast = fixed_point(f, z0, solver=Anderson(rtol=1e-8))
    assert 5 * fast.evaluations < slow.evaluations


@given(
    problem=contractions(),
    log10_scale=st.sampled_from([-6, -3, 3, 6]),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_the_scale_of_the_state_changes_no_count_by_more_than_one(problem, log10_scale, dtype):
    # An absolute ridge would: it is blind to the scale, and stalls on small states.
    w, x, s = problem.w.to(dtype), problem.x.to(dtype), 10.0**log10_scale
    solver = Anderson(rtol=1e-4 if dtype == torch.float32 else 1e-8, atol=0.0)
    f = Contraction(w, x, problem.lipschitz)
    plain = fixed_point(f, f.z0, solver=solver)
    scaled = fixed_point(lambda z: s * f(z / s), f.z0, solver=solver)
    assert (plain.steps - scaled.steps).abs().max() <= 1


@pytest.mark.parametrize("norm", [0.5, 0.9])
@pytest.mark.parametrize("seed", [10, 20, 30])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_larger_window_never_costs_more_than_one_evaluation_more(norm, seed, symmetric):
    w, x = matrix(6, norm=norm, seed=seed, symmetric=symmetric), normal(3, 6, seed=seed + 1)
    f = affine(w, x)
    counts = [
        fixed_point(f, torch.zeros_like(x), solver=Anderson(memory=m, rtol=1e-6)).evaluations
        for m in (2, 3, 4, 6)
    ]
    assert all(b <= a + 1 for a, b in pairwise(counts)), counts


def test_memory_beyond_the_dimension_is_not_kept():
    for dim, columns in ((3, 3), (0, 1)):
        z = torch.zeros(2, dim)
        _, memory = Anderson(memory=10).step(COS, Iterate(z, z, RUNNING), Anderson().init(z))
        assert memory.window.dg.shape == (2, columns, dim)


def steps_of(solver: Solver, points):
    """The iterates that `solver` makes of a list of images; it never calls f itself."""
    z, memory, iterates = torch.zeros(1, 2, dtype=F64), None, []
    memory = solver.init(z)
    for image in points:
        fz = torch.as_tensor([image], dtype=F64)
        z, memory = solver.step(COS, Iterate(z, fz, RUNNING), memory)
        iterates.append(z)
    return iterates


def test_a_residual_that_grew_restarts_from_the_image_of_the_last_good_point():
    images = [(1.0, 0.0), (1.3, 0.1), (1e4, -1e4)]
    solver = Anderson(growth=10.0)
    assert torch.equal(steps_of(solver, images)[2], torch.tensor([[1.3, 0.1]], dtype=F64))
    # Damped, the step from the good point is damped as well: z + beta g.
    damped = replace(solver, damping=0.5)
    z1 = steps_of(damped, images)[1]
    good = torch.tensor([[1.3, 0.1]], dtype=F64)
    z0 = steps_of(damped, images)[0]
    torch.testing.assert_close(steps_of(damped, images)[2], (z0 + good) / 2, rtol=1e-12, atol=0)
    assert not torch.equal(z1, (z0 + good) / 2)


def test_after_a_restart_the_window_is_empty_and_the_next_point_is_taken_as_it_comes():
    # Three good points, a rejected one, and one that is worse still: it is not rejected again.
    images = [(1.0, 0.0), (1.3, 0.1), (1e4, -1e4), (1e6, 2e6)]
    z4 = steps_of(Anderson(growth=10.0), images)[3]
    # One difference only, from the last good point (z1, g1) to the present (z3, g3).
    z1, z3 = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.3, 0.1]).double()
    f1, f3 = torch.tensor(images[1]).double(), torch.tensor(images[3]).double()
    g1, g3 = f1 - z1, f3 - z3
    c = ((g3 - g1) @ g3) / ((g3 - g1) @ (g3 - g1))
    expected = f3 - c * (f3 - f1)
    torch.testing.assert_close(z4[0], expected, rtol=1e-6, atol=1e-3)


def test_a_restart_leaves_no_product_of_the_differences_it_forgot():
    # With a ridge of 0, what is left of them could make the next system singular.
    solver = Anderson(growth=10.0)
    z = torch.zeros(2, 2, dtype=F64)
    memory = solver.init(z)
    good, bad = (1.3, 0.1), (1e4, -1e4)
    for images in ([(1.0, 0.0)] * 2, [good, good], [(1.4, 0.15), bad]):
        z, memory = solver.step(COS, Iterate(z, torch.tensor(images, dtype=F64), RUNNING), memory)
    window = memory.window
    assert window.gram[0].any()
    assert not window.gram[1].any()
    assert not np.delete(window.dg[1, : window.used], window.open, axis=0).any()


def test_the_restart_of_one_row_leaves_the_windows_of_the_others():
    solver = Anderson(growth=10.0)
    good = [(1.0, 0.0), (1.3, 0.1), (1.4, 0.15), (1.43, 0.17)]
    bad = [(1.0, 0.0), (1.3, 0.1), (1e4, -1e4), (1.0, 2.0)]
    z = torch.zeros(2, 2, dtype=F64)
    memory = solver.init(z)
    for pair in zip(good, bad, strict=True):
        z, memory = solver.step(COS, Iterate(z, torch.tensor(pair, dtype=F64), RUNNING), memory)
    torch.testing.assert_close(z[:1], steps_of(solver, good)[-1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(z[1:], steps_of(solver, bad)[-1], rtol=1e-12, atol=1e-12)


def test_a_map_that_jumps_is_solved_thanks_to_the_safeguard():
    # The slope changes from -0.9 to 0.9 at 1: an extrapolation across the kink overshoots.
    f = lambda z: torch.where(z < 1, 2 - 0.9 * z, 0.2 + 0.9 * z)  # noqa: E731
    z0 = torch.linspace(-5, 5, 7, dtype=F64)[:, None]
    solution = fixed_point(f, z0, solver=Anderson(rtol=1e-8), on_failure="ignore")
    assert solution.status.tolist() == [Status.CONVERGED] * 7


def test_dependent_differences_do_not_raise_or_blow_up():
    # Both columns of every difference are equal: the Gram matrix is singular to rounding.
    x = normal(3, 1, seed=11).expand(3, 4).contiguous()
    solution = fixed_point(
        lambda z: 0.9 * z.sin() + x, torch.zeros_like(x), solver=Anderson(rtol=1e-12, ridge=0.0)
    )
    assert solution.converged.all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"memory": 0}, "memory must be at least 1, got 0; use Picard for 0"),
        ({"damping": 0.0}, r"damping must be in \(0, 1\], got 0.0"),
        ({"ridge": -1e-3}, "ridge must be 0 or more, got -0.001"),
        ({"growth": 1.0}, "growth must be more than 1, got 1.0"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Anderson(**settings)
