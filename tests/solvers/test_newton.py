"""Newton with dense Jacobians: what only it can pass."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status, fixed_point
from deqlab.solvers import newton
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.newton import Newton
from deqlab.solvers.newton_krylov import NewtonKrylov
from tests.problems import F64, affine_solution, contractions, matrix, normal, symmetric_with
from tests.solvers.lcp import FAMILIES, Complementarity

every_family = pytest.mark.parametrize("family", FAMILIES)


def solve(f, z0, **settings):
    settings = {"rtol": 1e-13, "atol": 0.0} | settings
    return fixed_point(f, z0, solver=Newton(**settings), on_failure="ignore")


@pytest.mark.parametrize("norm", [0.0, 0.9, 5.0])
def test_an_affine_map_is_solved_in_one_step_wherever_it_starts(norm):
    # An eigenvalue of 1 is generically absent; |W| > 1 repels every Picard iteration.
    w, x = matrix(6, norm=norm, seed=0), normal(4, 6, seed=1)
    solution = solve(lambda z: z @ w.T + x, 100 * normal(4, 6, seed=2), rtol=1e-10)
    assert solution.converged.all()
    assert solution.steps.tolist() == [2] * 4
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=1e-9, atol=1e-9)


def test_one_step_counts_one_product_a_column_and_one_more_evaluation():
    w, x = matrix(6, norm=0.9, seed=3), normal(4, 6, seed=4)
    solution = solve(lambda z: z @ w.T + x, torch.zeros_like(x))
    assert solution.products == 6
    assert solution.evaluations == 3


def test_the_step_is_the_solution_of_the_dense_linear_system():
    w, x, z = matrix(5, norm=2.0, seed=5), normal(3, 5, seed=6), normal(3, 5, seed=7)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    iterate = Iterate(z, f(z), np.ones(3, dtype=bool))
    z1, _ = Newton().step(CountedMap(f), iterate, Newton().init(z))
    j = (1 - f(z) ** 2)[:, :, None] * w
    expected = z + torch.linalg.solve(torch.eye(5, dtype=F64) - j, f(z) - z)
    torch.testing.assert_close(z1, expected, rtol=1e-12, atol=1e-12)


def test_the_error_is_squared_by_each_step_near_the_solution():
    w, x = matrix(5, norm=0.9, seed=8), normal(3, 5, seed=9)
    solution = solve(lambda z: torch.tanh(z @ w.T + x), torch.zeros_like(x))
    for residuals in solution.trace.T:
        late = [r.item() for r in residuals if 1e-13 < r < 1e-1]
        # |g_{k+1}| <= c |g_k|^2 with c of the order of the curvature of tanh.
        assert len(late) >= 2
        assert all(b <= 5 * a**2 for a, b in pairwise(late))
    assert solution.steps.max() <= 7


@given(problem=contractions())
def test_it_takes_no_more_steps_than_picard(problem):
    ours = fixed_point(problem, problem.z0, solver=Newton(rtol=1e-8))
    plain = fixed_point(problem, problem.z0, solver=Picard(rtol=1e-8))
    assert (ours.steps <= plain.steps).all()


def test_steep_negative_slopes_are_solved_where_picard_diverges():
    w = symmetric_with(np.linspace(-20, 0.9, 8), seed=10)
    x = normal(5, 8, seed=11)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    assert not fixed_point(
        f, torch.zeros_like(x), solver=Picard(), on_failure="ignore"
    ).converged.any()
    solution = solve(f, torch.zeros_like(x))
    assert solution.converged.all()


def test_the_line_search_saves_what_full_steps_lose():
    # z = -10 arctan(z): beyond |z| = 1.5 full Newton steps on arctan run away.
    f = lambda z: -10 * torch.atan(z - 1)  # noqa: E731
    z0 = torch.tensor([[-30.0], [0.0], [5.0], [300.0]], dtype=F64)
    solution = solve(f, z0)
    assert solution.converged.all()
    assert (solution.value - solution.value[0]).abs().max() < 1e-12
    # Every row's good points go down: no trace ends above where it began.
    assert (solution.residual <= solution.trace[0]).all()


@every_family
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8])
def test_a_complementarity_problem_is_solved_exactly(family, dim):
    problem = Complementarity(family, dim, batch=25, seed=dim)
    solution = solve(problem, problem.z0)
    gold = problem.by_substitution() if family == "triangular" else problem.by_enumeration()
    assert (problem.defect(solution.value) <= 1e-14).all()
    scale = gold.norm(dim=1, keepdim=True) + 1
    cond = torch.from_numpy(np.linalg.cond(problem.m))[:, None]
    assert ((solution.value - gold).abs() <= 1e-14 * cond * scale).all()


@every_family
@pytest.mark.parametrize("dim", [15, pytest.param(30, marks=pytest.mark.slow)])
def test_large_complementarity_problems_too_where_no_iteration_contracts(family, dim):
    problem = Complementarity(family, dim, batch=25, seed=100 + dim)
    solution = solve(problem, problem.z0, max_steps=200)
    assert (problem.defect(solution.value) <= 1e-14).all()
    other = fixed_point(
        problem, problem.z0, solver=Anderson(rtol=1e-13, max_steps=200), on_failure="ignore"
    )
    if family == "positive":
        assert 2 * other.converged.sum() < 25


@pytest.mark.parametrize("log2_gap", [4, 10, 16, 20])
def test_loops_next_to_one_throw_the_first_trial_far_and_are_solved(log2_gap):
    # (I - W)^-1 = 2^log2_gap (I - L)^-1, L strictly triangular: a full step beyond a kink lands
    # where |g| is about that large.
    gap, dim = 2.0**-log2_gap, 8
    w = (1 - gap) * torch.eye(dim, dtype=F64) + gap * matrix(dim, norm=20.0, seed=12).tril(-1)
    q = normal(40, dim, seed=13)
    z_star = torch.zeros_like(q)
    for i in range(dim):  # forward substitution
        z_star[:, i] = torch.relu(q[:, i] + z_star @ w[i] - z_star[:, i] * w[i, i]) / gap
    solution = solve(lambda z: torch.relu(z @ w.T + q), torch.zeros_like(q), rtol=1e-9)
    assert solution.converged.all()
    torch.testing.assert_close(solution.value, z_star, rtol=1e-6, atol=1e-6 / gap)


@pytest.mark.parametrize("solver", [Newton(), NewtonKrylov()])
def test_a_map_that_runs_away_stagnates_or_overflows(solver):
    # A trial that is taken back is no sign of divergence; a map without fixed point has others.
    x = torch.linspace(1, 3, 3, dtype=F64)[:, None].expand(3, 2)
    solution = fixed_point(
        lambda z: z + x + z**2, torch.zeros_like(x), solver=solver, on_failure="ignore"
    )
    assert not solution.converged.any()
    assert Status.DIVERGED not in solution.status.tolist()


def test_two_kinks_in_one_place_do_not_hold_a_row_up():
    # Rows of this batch cross a kink right after another, which gains less than ending beyond it
    # costs: without slack in Armijo's rule they go round and round.
    problem = Complementarity("positive", 24, batch=60, seed=3)
    solution = solve(problem, problem.z0, max_steps=400)
    assert (problem.defect(solution.value) <= 1e-14).all()


@every_family
def test_float32_solves_them_to_its_own_rounding(family):
    problem = Complementarity(family, 12, batch=25, seed=7)
    solution = solve(problem, problem.z0.float(), rtol=1e-6, max_steps=200)
    cond = np.linalg.cond(problem.m)
    sound = torch.from_numpy(cond < 1e4)
    assert (problem.defect(solution.value)[sound] <= 1e-5).all()


def test_following_the_first_kinks_alone_solves_them_and_lowers_the_residual_at_each(monkeypatch):
    # The route of the proof: each good point has (1 - t) of the residual of the last.
    monkeypatch.setattr(newton, "BOLD", 0)
    problem = Complementarity("positive", 12, batch=25, seed=8)
    solution = solve(problem, problem.z0, max_steps=300)
    assert (problem.defect(solution.value) <= 1e-14).all()
    # A good point, a bad trial, a good point, ...: never two bad ones in a row.
    falls = torch.cummin(solution.trace, dim=0).values
    for row, steps in zip(falls.T, solution.steps.tolist(), strict=True):
        kinks = row[:steps]
        assert ((kinks[2:] < kinks[:-2]) | (kinks[2:] < 1e-13)).all()


def test_it_is_full_steps_wherever_they_lower_the_residual():
    problem = Complementarity("dominant", 10, batch=40, seed=9)
    solution = solve(problem, problem.z0)
    assert solution.steps.double().mean() < 4


def test_a_singular_row_takes_a_picard_step_and_no_other_row_feels_it():
    rate = torch.tensor([[0.5], [1.0], [-2.0]], dtype=F64)
    x = normal(3, 2, seed=12)
    f = lambda z: rate * z + x  # noqa: E731
    z = torch.zeros(3, 2, dtype=F64)
    iterate = Iterate(z, f(z), np.ones(3, dtype=bool))
    z1, _ = Newton().step(CountedMap(f), iterate, Newton().init(z))
    assert torch.equal(z1[1], x[1])
    torch.testing.assert_close(z1[[0, 2]], (x / (1 - rate))[[0, 2]], rtol=1e-14, atol=0)


def test_a_jacobian_that_is_not_finite_stops_its_row_only():
    # At 0 the slope of sqrt is infinite, its value is not.
    f = lambda z: torch.stack([z[0].abs().sqrt() + 1, 0.5 * z[1] + 1])  # noqa: E731
    solution = solve(f, torch.zeros(2, 1, dtype=F64))
    golden = (3 + 5**0.5) / 2  # z = sqrt(z) + 1
    torch.testing.assert_close(
        solution.value, torch.tensor([[golden], [2.0]], dtype=F64), rtol=1e-12, atol=0
    )


def test_rows_that_have_converged_cost_no_further_products():
    # Each row has its own state; once no good row runs, a step takes no Jacobian.
    w, x = matrix(4, norm=0.5, seed=13), normal(3, 4, seed=14)
    f = CountedMap(lambda z: torch.tanh(z @ w.T + x))
    z = normal(3, 4, seed=15)
    Newton().step(f, Iterate(z, f(z), np.zeros(3, dtype=bool)), Newton().init(z))
    assert (f.counts.products, f.counts.evaluations) == (0, 1)


def test_a_trial_is_judged_in_units_of_the_weights():
    # The first number falls from 1e6 to 1, and the second, in units of 1e-6, rises from 1 to 9.
    residuals = iter([[1e6, 1e-6], [1.0, 9e-6]])
    image = lambda z: z + torch.tensor([next(residuals)], dtype=F64)  # noqa: E731
    f, weights = CountedMap(lambda z: 0.5 * z), torch.tensor([[1e-6, 1e6]], dtype=F64)
    z = torch.zeros(1, 2, dtype=F64)
    memory = Newton().init(z)
    for trials in (0, 1):
        iterate = Iterate(z, image(z), np.ones(1, dtype=bool), weights=weights)
        z, memory = Newton().step(f, iterate, memory)
        assert memory.line.trials.tolist() == [trials]


def test_blocks_of_different_scale_are_all_searched():
    # Unweighted, the large block would hide that the small one got worse.
    problem = Complementarity("positive", 6, batch=10, seed=16)
    small = 1e-9

    def f(state):
        a, b = state
        return 1e3 - 3 * torch.tanh(a - 1e3), small * problem(b / small)

    z0 = (torch.zeros(10, 2, dtype=F64), problem.z0)
    solution = solve(f, z0, rtol=1e-10, max_steps=300)
    assert solution.converged.all()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_no_gradients_are_recorded(mode):
    w, x = matrix(4, norm=0.9, seed=17), normal(3, 4, seed=18)
    f = lambda z, x: torch.tanh(z @ w.T + 1) * x  # noqa: E731
    expected = solve(lambda z: f(z, x), torch.zeros_like(x)).value
    with mode():
        made_here = x + 0
        value = fixed_point(f, torch.zeros_like(x), made_here, solver=Newton(rtol=1e-13)).value
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_solved_in_float32(dtype):
    w, x = matrix(4, norm=0.9, seed=19), normal(3, 4, seed=20)
    f = lambda z: torch.tanh(z @ w.T.to(dtype) + x.to(dtype))  # noqa: E731
    solution = fixed_point(f, torch.zeros_like(x).to(dtype), solver=Newton(rtol=2e-2))
    assert solution.value.dtype == dtype
    assert solution.converged.all()


def test_a_state_that_is_too_large_is_refused_and_another_method_named():
    with pytest.raises(ValueError, match=r"D = 1025, more than 1024; use NewtonKrylov"):
        Newton().init(torch.zeros(2, 1025))
    Newton().init(torch.zeros(2, 1024))


@given(st.sampled_from(list(FAMILIES)), st.integers(1, 10), st.integers(0, 2**31))
def test_a_row_of_a_complementarity_problem_does_not_feel_its_neighbours(family, dim, seed):
    problem = Complementarity(family, dim, batch=3, seed=seed)
    together = solve(problem, problem.z0)
    for i in range(3):
        f = lambda z, i=i: torch.relu(z @ problem.w[i].T + problem.x[i])  # noqa: E731
        alone = solve(f, problem.z0[[i]])
        assert abs(alone.steps[0] - together.steps[i]) <= 2  # rounding decides who ends when
        assert alone.status[0] == together.status[i] or Status.STAGNATED in (
            alone.status[0],
            together.status[i],
        )
        cond = np.linalg.cond(problem.m[i])
        scale = 1 + together.value[i].abs().max().item()
        assert (alone.value[0] - together.value[i]).abs().max() <= 1e-13 * cond * scale
