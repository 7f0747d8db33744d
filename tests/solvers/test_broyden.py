"""Broyden's method: what only it can pass."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status, fixed_point
from deqlab.solvers.broyden import Broyden
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

EXACT = Broyden(rtol=1e-12, memory=30, growth=1e12)


def affine(w, x):
    return lambda z: z @ w.T + x


class Run:
    """A solve, step by step; f is a map, or a list of images that are given out in turn."""

    def __init__(self, solver, f, z):
        self.solver, self.f, self.z = solver, f, z
        self.running = np.ones(len(z), dtype=bool)
        with torch.no_grad():
            self.memory = solver.init(z)
        self.points = []

    def step(self, image=None):
        image = self.f(self.z) if image is None else torch.as_tensor(image, dtype=self.z.dtype)
        self.points.append((self.z, image - self.z))
        counted, iterate = CountedMap(torch.cos), Iterate(self.z, image, self.running)
        with torch.no_grad():
            self.z, self.memory = self.solver.step(counted, iterate, self.memory)
        return self.z

    def pair(self):
        """The last differences of z and of g."""
        (z0, g0), (z1, g1) = self.points[-2:]
        return z1 - z0, g1 - g0

    def inverse(self, v):
        return self.solver.inverse(self.memory, v)

    def inverse_transposed(self, v):
        return self.solver.inverse_transposed(self.memory, v)

    def dense(self, row=0):
        """H of a row, by its columns."""
        batch, dim = self.z.shape
        columns = [self.inverse(e.expand(batch, dim))[row] for e in torch.eye(dim, dtype=F64)]
        return torch.stack(columns, dim=1)


def tanh_run(dim=6, batch=3, norm=0.9, solver=EXACT, seed=0):
    w, x = matrix(dim, norm=norm, seed=seed), normal(batch, dim, seed=seed + 1)
    return Run(solver, Contraction(w, x, norm), torch.zeros_like(x))


def good_broyden(f, z, steps, beta=1.0):
    """The textbook method on one row, with H as a dense matrix; returns the iterates and H."""
    h, iterates = -beta * torch.eye(len(z), dtype=F64), []
    g = f(z) - z
    for _ in range(steps):
        s = -h @ g
        z = z + s
        y, g = f(z) - z - g, f(z) - z
        h = h + torch.outer(s - h @ y, s @ h) / (s @ h @ y)
        iterates.append(z)
    return iterates, h


@pytest.mark.parametrize("beta", [1.0, 0.6])
@pytest.mark.parametrize("memory", [8, 30])
def test_iterates_and_inverse_are_those_of_the_textbook_method(beta, memory):
    # 8 and 30: the buffer as it starts, and after it grew.
    dim, steps = 20, 8 if memory == 8 else 18
    w, x = matrix(dim, norm=0.95, seed=0, symmetric=True), normal(2, dim, seed=1)
    run = Run(Broyden(memory=memory, growth=1e12, damping=beta), affine(w, x), torch.zeros_like(x))
    for _ in range(steps):
        run.step()
    for row in range(2):
        f = lambda z, row=row: w @ z + x[row]  # noqa: E731
        iterates, h = good_broyden(f, torch.zeros(dim, dtype=F64), steps - 1, beta)
        torch.testing.assert_close(run.points[-1][0][row], iterates[-1], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(run.dense(row), h, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_affine_map_is_solved_in_twice_its_dimension(dim, seed):
    # Gay (1979): z_{2D} solves it. The residual at it takes one evaluation more.
    w, x = matrix(dim, norm=0.9, seed=seed), normal(4, dim, seed=seed + 10)
    solver = Broyden(memory=2 * dim, growth=1e12, rtol=1e-7, max_steps=2 * dim + 1)
    solution = fixed_point(affine(w, x), torch.zeros_like(x), solver=solver)
    # The residual, amplified by 1 / (1 - 0.9).
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=0, atol=1e-5)


@given(problem=contractions())
def test_after_every_update_the_inverse_maps_the_last_dg_to_dz(problem):
    run = Run(EXACT, problem, problem.z0)
    run.step()
    for _ in range(8):
        run.step()
        dz, dg = run.pair()
        rows = dz.norm(dim=1) > 1e-6  # the others have all but converged: rounding
        error = (run.inverse(dg) - dz).norm(dim=1)[rows]
        assert (error <= 1e-6 * dz.norm(dim=1)[rows]).all()


@pytest.mark.parametrize("seed", range(4))
def test_on_an_affine_map_of_rank_one_the_inverse_is_exact_on_its_range(seed):
    # W = u v': g_1 = W s_0 is along u, so are s_1 and y_1 = (W - I) s_1, and H y_1 = s_1.
    u, v, x = (normal(1, 12, seed=40 + 10 * k + seed) for k in range(3))
    w = 0.9 * u.T @ v / (u.norm() * v.norm())
    run = Run(EXACT, affine(w, x), torch.zeros_like(x))
    for _ in range(3):
        run.step()
    exact = torch.linalg.inv(w - torch.eye(12, dtype=F64))
    torch.testing.assert_close(run.inverse(u), u @ exact.T, rtol=1e-9, atol=1e-9)


def test_the_transposed_inverse_is_the_transpose():
    run = tanh_run()
    for step in range(6):
        run.step()
        u, v = normal(3, 6, seed=20 + step), normal(3, 6, seed=30 + step)
        left = (u * run.inverse(v)).sum(dim=1)
        right = (run.inverse_transposed(u) * v).sum(dim=1)
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)
    h = run.dense()
    assert (h - h.T).norm() > 1e-3  # of a matrix that is not symmetric


@pytest.mark.parametrize("seed", range(4))
def test_the_transposed_inverse_of_a_solve_is_nearer_to_the_adjoint_than_the_identity(seed):
    # SHINE takes -H'w for the adjoint (I - J')^-1 w, Jacobian-free takes w. What a forward solve
    # learns of J is little: this is a gain of a tenth, and none for every single w.
    problem = Contraction(matrix(30, norm=0.9, seed=seed), normal(16, 30, seed=seed + 50), 0.9)
    solver = Broyden(rtol=1e-8, memory=30)
    with torch.no_grad():
        solution, memory = solver.run(problem, problem.z0)
    jacobian = (1 - solution.matrix**2)[:, :, None] * problem.w
    w = normal(16, 30, seed=seed + 60)
    exact = torch.linalg.solve((torch.eye(30, dtype=F64) - jacobian).mT, w[:, :, None])[:, :, 0]
    shine = (-solver.inverse_transposed(memory, w) - exact).norm(dim=1).mean()
    assert shine < 0.97 * (w - exact).norm(dim=1).mean()


def test_in_a_state_of_blocks_the_inverse_is_that_of_the_unscaled_map():
    scales = torch.tensor([1e3, 1e3, 1e-3, 1e-3], dtype=F64)
    w, x = matrix(4, norm=0.8, seed=7), normal(3, 4, seed=8)
    f = lambda z: scales * torch.tanh((z / scales) @ w.T + x)  # noqa: E731
    with torch.no_grad():
        solution, memory = EXACT.run(f, torch.zeros_like(x), blocks=(2, 2))
    assert solution.converged.all()
    slope = 1 - torch.tanh((solution.matrix / scales) @ w.T + x) ** 2
    for row in range(3):
        jacobian = scales[:, None] * slope[row][:, None] * w / scales
        exact = torch.linalg.inv(jacobian - torch.eye(4, dtype=F64))
        v = (scales * normal(1, 4, seed=9)).expand(3, 4)
        # 4 directions and more steps than that: H is close to the inverse, block by block.
        close = (EXACT.inverse(memory, v)[row] - exact @ v[row]) / scales
        assert close.norm() < 0.3 * (exact @ v[row] / scales).norm()
        u = normal(1, 4, seed=10).expand(3, 4) / scales
        left = (u * EXACT.inverse(memory, v)).sum(dim=1)
        right = (EXACT.inverse_transposed(memory, u) * v).sum(dim=1)
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


def test_rows_that_left_took_their_memory_along_and_the_inverse_says_so():
    x = torch.tensor([[1.0, 2.0], [0.1, 0.1], [0.0, 0.0], [0.0, 0.0]], dtype=F64)
    w = matrix(2, norm=0.9, seed=11)

    def narrow(rows):
        return lambda z: torch.tanh(z @ w.T + x[rows])

    solver = Broyden(rtol=1e-10)
    every = torch.arange(4)
    _, memory = solver.run(narrow(every), torch.zeros_like(x), narrow=narrow)
    with pytest.raises(ValueError, match="v has 4 rows and the memory 2: rows that left the solve"):
        solver.inverse(memory, x)


def test_a_finished_row_keeps_its_inverse_while_others_go_on():
    # Row 0 contracts by 0.2 and ends many restarts before row 1.
    rates = torch.tensor([[0.2], [0.99]], dtype=F64)
    w, x = matrix(8, norm=1.0, seed=12, symmetric=True), normal(2, 8, seed=13)
    f = lambda z: rates * (z @ w.T) + x  # noqa: E731
    solver = Broyden(rtol=1e-9, memory=4)
    together, memory = solver.run(f, torch.zeros_like(x))
    alone, its_own = solver.run(lambda z: 0.2 * (z @ w.T) + x[:1], torch.zeros_like(x[:1]))
    assert together.steps[0] == alone.steps[0] < together.steps[1] - 8
    v = normal(2, 8, seed=14)
    torch.testing.assert_close(
        solver.inverse(memory, v)[:1], solver.inverse(its_own, v[:1]), rtol=1e-9, atol=1e-9
    )


def test_a_row_that_does_not_run_keeps_its_inverse_whatever_its_residual():
    run = tanh_run(batch=2, solver=Broyden())
    for _ in range(4):
        run.step()
    v = normal(2, 6, seed=15)
    before = run.inverse(v)
    run.running[1] = False
    run.step(run.f(run.z) + torch.tensor([[0.0], [1e9]], dtype=F64))
    assert torch.equal(run.inverse(v)[1], before[1])
    assert not torch.equal(run.inverse(v)[0], before[0])


def test_rows_that_leave_change_no_iterate_of_the_rows_that_stay():
    rates = torch.linspace(0.1, 0.98, 8, dtype=F64)[:, None]
    w, x = matrix(6, norm=1.0, seed=15, symmetric=True), normal(8, 6, seed=16)

    def narrow(rows):
        return lambda z: rates[rows] * torch.tanh(z @ w.T) + x[rows]

    solver = Broyden(rtol=1e-9, memory=5)
    every = torch.arange(8)
    stay, _ = solver.run(narrow(every), torch.zeros_like(x))
    leave, _ = solver.run(narrow(every), torch.zeros_like(x), narrow=narrow)
    assert leave.steps.tolist() == stay.steps.tolist()
    torch.testing.assert_close(leave.matrix, stay.matrix, rtol=0, atol=1e-12)


def test_at_full_memory_a_row_restarts_with_a_scaled_picard_step_from_where_it_is():
    run = tanh_run(solver=Broyden(memory=3, growth=1e12))
    for _ in range(4):
        run.step()
    z, g = run.z, run.f(run.z) - run.z
    run.step()
    dz, dg = run.pair()
    beta = (dz.norm(dim=1) / dg.norm(dim=1)).clamp_max(1.0)[:, None]
    torch.testing.assert_close(run.z, z + beta * g, rtol=1e-12, atol=1e-12)
    # And H is -beta I: nothing is left of the three pairs.
    v = normal(3, 6, seed=17)
    torch.testing.assert_close(run.inverse(v), -beta * v, rtol=1e-12, atol=1e-12)


def test_a_residual_that_grew_restarts_from_the_last_good_point():
    run = Run(Broyden(growth=10.0), None, torch.zeros(1, 2, dtype=F64))
    run.step([(1.0, 0.0)])
    run.step([(1.3, 0.1)])
    run.step([(1e4, -1e4)])
    z1, g1 = run.points[1]
    dz, dg = run.pair()
    beta = dz.norm() / dg.norm()
    torch.testing.assert_close(run.z, z1 + beta * g1, rtol=1e-12, atol=1e-12)
    v = normal(1, 2, seed=18)
    torch.testing.assert_close(run.inverse(v), -beta * v, rtol=1e-12, atol=1e-12)
    # The next point is taken as it comes: worse still, the row goes on from there.
    run.step([(1e6, 2e6)])
    z3, g3 = run.points[3]
    beta = (z3 - z1).norm() / (g3 - g1).norm()
    torch.testing.assert_close(run.z, z3 + beta * g3, rtol=1e-12, atol=1e-12)


def test_a_first_step_that_was_too_long_restarts_with_a_shorter_one_where_it_is():
    # dz = x and dg = -(1, 4, 4) x: |dg| > 2 |dz|, which a map that contracts cannot do.
    x = normal(2, 3, seed=19)
    j = torch.tensor([0.0, -3.0, -3.0], dtype=F64)
    run = Run(Broyden(), lambda z: x + j * z, torch.zeros_like(x))
    run.step()
    z, g = run.z, run.f(run.z) - run.z
    run.step()
    dz, dg = run.pair()
    beta = dz.norm(dim=1) / dg.norm(dim=1)
    assert (beta < 0.5).all()
    torch.testing.assert_close(run.z, z + beta[:, None] * g, rtol=1e-12, atol=1e-12)


def test_the_restart_of_one_row_leaves_the_inverse_of_the_others():
    good = [(1.0, 0.0), (1.3, 0.1), (1.4, 0.15), (1.43, 0.17), (1.432, 0.171)]
    bad = [(1.0, 0.0), (1.3, 0.1), (1e4, -1e4), (1.0, 2.0), (1.1, 2.5)]
    zero = torch.zeros(2, 2, dtype=F64)
    both = Run(Broyden(), None, zero)
    alone = [Run(Broyden(), None, zero[:1]), Run(Broyden(), None, zero[:1])]
    for pair in zip(good, bad, strict=True):
        both.step(pair)
        for run, image in zip(alone, pair, strict=True):
            run.step([image])
    v = normal(2, 2, seed=20)
    for row, run in enumerate(alone):
        torch.testing.assert_close(both.z[row], run.z[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            both.inverse(v)[row], run.inverse(v[row : row + 1])[0], rtol=1e-12, atol=1e-12
        )


def test_what_overflowed_is_forgotten_with_the_restart():
    # Zero times an old step of inf would be nan.
    run = tanh_run(batch=2, solver=Broyden())
    for _ in range(4):
        run.step()
    run.memory.updates.steps[1, 2] = np.inf
    v = normal(2, 6, seed=18)
    assert run.inverse(v).isfinite().all(dim=1).tolist() == [True, False]
    far = run.f(run.z) + torch.tensor([[0.0], [1e9]], dtype=F64)
    run.step(far)
    assert run.inverse(v).isfinite().all()


def test_an_update_that_would_divide_by_rounding_is_skipped():
    # dg = 0: s'H dg = 0, and H stays -I, so that the step is Picard's.
    run = Run(Broyden(), lambda z: z + 1, torch.zeros(1, 3, dtype=F64))
    for k in range(1, 6):
        assert torch.equal(run.step(), torch.full((1, 3), float(k), dtype=F64))
    v = normal(1, 3, seed=21)
    assert torch.equal(run.inverse(v), -v)


@pytest.mark.parametrize("lowest", [-3.0, -10.0, -30.0])
def test_spectra_far_below_minus_one_are_solved_where_picard_diverges(lowest):
    w = symmetric_with(torch.linspace(lowest, 0, 20).tolist(), seed=22)
    x = normal(3, 20, seed=23)
    f, z0 = affine(w, x), torch.zeros_like(x)
    assert not fixed_point(f, z0, solver=Picard(), on_failure="ignore").converged.any()
    solution = fixed_point(f, z0, solver=Broyden(rtol=1e-9))
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=0, atol=1e-6)


def test_it_takes_about_as_many_evaluations_as_anderson_on_a_slow_contraction():
    w, x = matrix(40, norm=0.97, seed=24, symmetric=True), normal(3, 40, seed=25)
    counts = [
        fixed_point(affine(w, x), torch.zeros_like(x), solver=solver(rtol=1e-6)).evaluations
        for solver in (Anderson, Broyden)
    ]
    assert counts[1] <= 1.5 * counts[0], counts


def test_a_map_that_jumps_is_solved_thanks_to_the_safeguard():
    f = lambda z: torch.where(z < 1, 2 - 0.9 * z, 0.2 + 0.9 * z)  # noqa: E731
    z0 = torch.linspace(-5, 5, 7, dtype=F64)[:, None]
    solution = fixed_point(f, z0, solver=Broyden(rtol=1e-8), on_failure="ignore")
    assert solution.status.tolist() == [Status.CONVERGED] * 7


@given(
    problem=contractions(),
    log10_scale=st.sampled_from([-6, -3, 3, 6]),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_the_scale_of_the_state_changes_no_count_by_more_than_one(problem, log10_scale, dtype):
    w, x, s = problem.w.to(dtype), problem.x.to(dtype), 10.0**log10_scale
    solver = Broyden(rtol=1e-4 if dtype == torch.float32 else 1e-8, atol=0.0)
    f = Contraction(w, x, problem.lipschitz)
    plain = fixed_point(f, f.z0, solver=solver)
    scaled = fixed_point(lambda z: s * f(z / s), f.z0, solver=solver)
    assert (plain.steps - scaled.steps).abs().max() <= 1


def test_the_tape_records_the_same_iterates():
    # 40 steps with memory 3: many restarts, rows at different ones.
    w = matrix(6, norm=0.98, seed=26, symmetric=True)
    x = normal(4, 6, seed=27) * torch.tensor([[1.0], [0.1], [3.0], [10.0]], dtype=F64)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    solver = Broyden(memory=3, rtol=1e-9)
    with torch.no_grad():
        quick = solver.solve(f, torch.zeros_like(x))
    taped = solver.solve(f, torch.zeros_like(x))
    assert taped.steps.tolist() == quick.steps.tolist()
    torch.testing.assert_close(taped.matrix, quick.matrix, rtol=0, atol=1e-10)


def test_memory_is_bounded_by_the_setting_and_not_by_the_steps():
    x = normal(32, 4096, seed=28).float()
    f, state = lambda z: 0.97 * z.roll(1, dims=1) + x, x.numel() * 4
    solver = Broyden(memory=10, rtol=0.0, atol=0.0, max_steps=60, patience=60)
    with torch.no_grad():
        tracemalloc.start()
        solver.run(f, torch.zeros_like(x))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # The loop holds two of these itself, and several live for a part of a step only.
    assert peak < (solver.memory + 11) * state


def test_room_for_steps_grows_as_they_come():
    z = torch.zeros(2, 3)
    with torch.no_grad():
        assert Broyden(memory=200).init(z).updates.steps.shape == (2, 12, 3)
        assert Broyden(memory=2).init(z).updates.steps.shape == (2, 3, 3)
        run = tanh_run(dim=20, norm=0.9, solver=Broyden(memory=15, growth=1e12))
        for _ in range(16):
            run.step()
    assert run.memory.updates.steps.shape[1] == 16


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"memory": 0}, "memory must be at least 1, got 0; use Picard for 0"),
        ({"damping": 0.0}, r"damping must be in \(0, 1\], got 0.0"),
        ({"growth": 1.0}, "growth must be more than 1, got 1.0"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Broyden(**settings)
