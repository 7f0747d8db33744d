"""Newton-Krylov: what only it can pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from deqlab import Anderson, Picard, fixed_point
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.newton import Newton
from deqlab.solvers.newton_krylov import NewtonKrylov
from tests.problems import F64, affine_solution, contractions, matrix, normal, symmetric_with


def solve(f, z0, **settings):
    settings = {"rtol": 1e-12, "atol": 0.0} | settings
    return fixed_point(f, z0, solver=NewtonKrylov(**settings), on_failure="ignore")


def first_step(f, z, solver=NewtonKrylov(), running=None):  # noqa: B008
    counted, running = CountedMap(f), np.ones(len(z), dtype=bool) if running is None else running
    z1, _ = solver.step(counted, Iterate(z, f(z), running), solver.init(z))
    return z1, counted.counts


@pytest.mark.parametrize("norm", [0.0, 0.9, 3.0])
def test_an_affine_map_is_solved_in_one_step_and_one_space(norm):
    w, x = matrix(6, norm=norm, seed=0), normal(4, 6, seed=1)
    solution = solve(lambda z: z @ w.T + x, normal(4, 6, seed=2), forcing=1e-10, rtol=1e-8)
    assert solution.converged.all()
    assert solution.steps.tolist() == [2] * 4
    # No more products than dimensions; the one more measures a residual near rounding.
    assert solution.products <= 7
    assert solution.evaluations == 3
    torch.testing.assert_close(solution.value, affine_solution(w, x), rtol=1e-6, atol=1e-6)


def test_the_first_step_solves_the_linear_system_to_the_share_that_is_asked():
    w, x, z = matrix(20, norm=0.95, seed=3), normal(3, 20, seed=4), normal(3, 20, seed=5)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    g, j = f(z) - z, (1 - f(z) ** 2)[:, :, None] * w
    shares = []
    for forcing in (0.5, 1e-1, 1e-3, 1e-6):
        z1, counted = first_step(f, z, NewtonKrylov(forcing=forcing, rtol=1e-12, atol=0.0))
        d = z1 - z
        rest = (g - d + torch.einsum("bij,bj->bi", j, d)).norm(dim=1) / g.norm(dim=1)
        assert rest.max() <= forcing * (1 + 1e-9)
        shares.append(counted.products)
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_convergence_is_faster_than_linear_at_the_end():
    w, x = matrix(20, norm=0.95, seed=6, symmetric=True), normal(3, 20, seed=7)
    solution = solve(lambda z: torch.tanh(z @ w.T + x), torch.zeros_like(x))
    assert solution.converged.all()
    for residuals, steps in zip(solution.trace.T, solution.steps.tolist(), strict=True):
        falls = residuals[1:steps] / residuals[: steps - 1]
        # The last step ends as soon as it is within the tolerance.
        assert falls[:-1].min() < 0.01
        assert falls[0] > 0.1


def test_no_step_is_solved_far_below_the_tolerance_of_the_solve():
    w, x = matrix(30, norm=0.95, seed=8, symmetric=True), normal(3, 30, seed=9)
    f = lambda z: z @ w.T + x  # noqa: E731
    loose = solve(f, torch.zeros_like(x), rtol=1e-2)
    tight = solve(f, torch.zeros_like(x), rtol=1e-10)
    assert loose.converged.all()
    assert 2 * loose.products < tight.products
    # One that had been solved to its forcing term, or further, would end lower.
    assert (loose.residual > 0.05 * loose.tolerance).all()


def test_only_running_rows_prolong_the_linear_solve():
    # Row 0 needs many products to any share of |g|, row 1 none: f is constant there.
    w = symmetric_with(np.linspace(-20, 0.9, 20), seed=10)
    scale = torch.tensor([[1.0], [0.0]], dtype=F64)
    f = lambda z: scale * (z @ w.T) + 1.0  # noqa: E731
    z, strict = normal(2, 20, seed=11), NewtonKrylov(forcing=1e-8, rtol=1e-12)
    _, both = first_step(f, z, strict)
    z1, one = first_step(f, z, strict, running=np.array([False, True]))
    assert one.products == 1
    assert both.products > 10
    torch.testing.assert_close(z1[1], torch.ones(20, dtype=F64))
    _, none = first_step(f, z, strict, running=np.zeros(2, dtype=bool))
    assert (none.products, none.evaluations) == (0, 0)


def test_it_finds_what_dense_newton_finds_for_a_fraction_of_the_products():
    w, x = matrix(60, norm=0.95, seed=12, symmetric=True), normal(4, 60, seed=13)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    ours = solve(f, torch.zeros_like(x), rtol=1e-10)
    dense = fixed_point(f, torch.zeros_like(x), solver=Newton(rtol=1e-10))
    torch.testing.assert_close(ours.value, dense.value, rtol=0, atol=1e-8)
    assert 3 * ours.products < dense.products


def test_it_takes_fewer_evaluations_and_products_than_anderson_where_a_map_hardly_contracts():
    w, x = symmetric_with(np.linspace(-6, 0.99, 40), seed=14), normal(4, 40, seed=15)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    ours = solve(f, torch.zeros_like(x), rtol=1e-9)
    theirs = fixed_point(
        f, torch.zeros_like(x), solver=Anderson(rtol=1e-9, max_steps=500), on_failure="ignore"
    )
    assert ours.converged.all()
    assert ours.evaluations + ours.products < theirs.evaluations


@given(problem=contractions())
def test_it_takes_no_more_steps_than_picard(problem):
    ours = fixed_point(problem, problem.z0, solver=NewtonKrylov(rtol=1e-8))
    plain = fixed_point(problem, problem.z0, solver=Picard(rtol=1e-8))
    # One more where both take a few: a step is only as exact as its share of |g| asks.
    assert (ours.steps <= plain.steps + 1).all()


def test_the_line_search_saves_what_full_steps_lose():
    f = lambda z: -10 * torch.atan(z - 1)  # noqa: E731
    z0 = torch.tensor([[-30.0], [0.0], [5.0], [300.0]], dtype=F64)
    solution = solve(f, z0)
    assert solution.converged.all()
    assert (solution.value - solution.value[0]).abs().max() < 1e-10


def test_a_short_cycle_and_few_products_bound_the_work_and_still_converge():
    w, x = matrix(30, norm=0.9, seed=16), normal(3, 30, seed=17)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    solution = solve(f, torch.zeros_like(x), rtol=1e-8, restart=3, max_products=4)
    assert solution.converged.all()
    assert solution.products <= 4 * (solution.steps.max() - 1)


def test_a_singular_row_takes_a_picard_step_and_no_other_row_feels_it():
    rate = torch.tensor([[0.5], [1.0], [-2.0]], dtype=F64)
    x = normal(3, 2, seed=18)
    z = torch.zeros(3, 2, dtype=F64)
    z1, _ = first_step(lambda z: rate * z + x, z)
    assert torch.equal(z1[1], x[1])
    torch.testing.assert_close(z1[[0, 2]], (x / (1 - rate))[[0, 2]], rtol=1e-12, atol=0)


def test_blocks_of_different_scale_are_solved_alike():
    # Unweighted, the linear solve would see the large block alone.
    w, x = matrix(5, norm=0.95, seed=19, symmetric=True), normal(3, 5, seed=20)
    small = 1e-9

    def f(state):
        a, b = state
        return 0.3 * a + 1e6 * x, small * torch.tanh(b / small @ w.T + x)

    z0 = (torch.zeros_like(x), torch.zeros_like(x))
    blocks = solve(f, z0, rtol=1e-8)
    alone = solve(lambda b: torch.tanh(b @ w.T + x), torch.zeros_like(x), rtol=1e-8)
    assert blocks.converged.all()
    assert blocks.steps.max() <= alone.steps.max() + 2


def test_the_linear_solve_is_held_to_its_share_in_units_of_the_weights():
    # Blocks that feed each other: in their own units, J is a matrix of norm 2.
    units = torch.tensor([1e6, 1e6, 1e6, 1e-6, 1e-6], dtype=F64)
    j = matrix(5, norm=2.0, seed=25) * units[:, None] / units
    x, z = units * normal(3, 5, seed=26), torch.zeros(3, 5, dtype=F64)
    f, weights = CountedMap(lambda z: z @ j.T + x), (1 / units).expand(3, 5)
    solver = NewtonKrylov(forcing=1e-3, rtol=1e-12)
    iterate = Iterate(z, f(z), np.ones(3, dtype=bool), weights=weights)
    d, _ = solver.step(f, iterate, solver.init(z))
    rest = (x - d + d @ j.T) / units
    assert (rest.norm(dim=1) <= 1e-3 * (x / units).norm(dim=1)).all()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_no_gradients_are_recorded(mode):
    w, x = matrix(4, norm=0.9, seed=21), normal(3, 4, seed=22)
    f = lambda z, x: torch.tanh(z @ w.T + 1) * x  # noqa: E731
    expected = solve(lambda z: f(z, x), torch.zeros_like(x)).value
    with mode():
        made_here = x + 0
        solver = NewtonKrylov(rtol=1e-12)
        value = fixed_point(f, torch.zeros_like(x), made_here, solver=solver).value
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_solved_to_what_it_can_tell(dtype):
    w, x = matrix(4, norm=0.9, seed=23), normal(3, 4, seed=24)
    f = lambda z: torch.tanh(z @ w.T.to(dtype) + x.to(dtype))  # noqa: E731
    solution = fixed_point(f, torch.zeros_like(x).to(dtype), solver=NewtonKrylov(rtol=2e-2))
    assert solution.value.dtype == dtype
    assert solution.converged.all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"forcing": 0.0}, r"forcing must be in \(0, 1\), got 0.0"),
        ({"forcing": 1.0}, r"forcing must be in \(0, 1\), got 1.0"),
        ({"max_products": 0}, "max_products must be at least 1, got 0"),
        ({"restart": 0}, "restart must be at least 1, got 0"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        NewtonKrylov(**settings)


def forcing_terms(sizes, tolerance=0.0, forcing=0.9):
    """The eta of every step of one row whose |g| takes these values, all of them good."""
    solver = NewtonKrylov(forcing=forcing)
    memory, terms = solver.init(torch.zeros(1, 1)), []
    for size in sizes:
        eta = solver._forcing(np.array([size]), memory, np.array([tolerance]))
        terms.append(eta[0])
        line = replace(memory.line, size=np.array([size]))
        memory = replace(memory, line=line, eta=eta)
    return terms


def test_the_forcing_terms_are_those_of_eisenstat_and_walker():
    assert forcing_terms([1.0]) == [0.9]
    # 0.9 (0.7)^2 = 0.441, but 0.9 (0.9)^2 = 0.729 is the safeguard.
    assert forcing_terms([1.0, 0.7]) == pytest.approx([0.9, 0.729])
    # After 0.3 the safeguard is 0.9 (0.3)^2 = 0.081 < 0.1, and counts no more.
    assert forcing_terms([1.0, 0.5], forcing=0.3) == pytest.approx([0.3, 0.225])
    assert forcing_terms([1.0, 0.1], forcing=0.3) == pytest.approx([0.3, 0.009])
    # Half of the tolerance is left to the linear solve, and never more than `forcing`.
    assert forcing_terms([1.0, 1e-3], 1e-4, forcing=0.3) == pytest.approx([0.3, 0.05])
    assert forcing_terms([1.0, 1e-3], 1e-1, forcing=0.3) == pytest.approx([0.3, 0.3])
