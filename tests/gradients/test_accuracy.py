"""Implicit(accuracy=...): what is asked for is reached, or is said to be missed."""

from dataclasses import replace

import pytest
import torch

from deqlab import Anderson, ConvergenceError, ConvergenceWarning, Picard, Status, fixed_point
from deqlab.gradients import GMRES, Dense, Implicit, Switched
from tests.problems import F64, matrix, normal, symmetric_with

STIFF = torch.linspace(-0.99, 0.99, 24, dtype=F64)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def gold(w, x, u):
    """z* by Newton's method, and the gradient by a dense solve of the adjoint, in float64."""
    w, x, u = w.detach().double(), x.detach().double(), u.double()
    z = torch.zeros_like(x)
    eye = torch.eye(w.shape[0], dtype=F64)
    for _ in range(50):
        slope = 1 - cell(z, w, x) ** 2
        jacobian = slope[:, :, None] * w
        z = z + torch.linalg.solve(eye - jacobian, cell(z, w, x) - z)
    v = torch.linalg.solve((eye - (1 - z**2)[:, :, None] * w).mT, u)
    d = v * (1 - z**2)
    return d.T @ z, d


def problem(kind, dtype):
    if kind == "contraction":
        w = matrix(24, norm=0.9, seed=0)
    elif kind == "stiff":
        w = symmetric_with(STIFF, seed=1)
    else:
        w = symmetric_with(torch.linspace(-3, 0, 24, dtype=F64), seed=2)
    return w.to(dtype), (0.3 * normal(6, 24, seed=3)).to(dtype), normal(6, 24, seed=4).to(dtype)


def gradients(kind, gradient, solver, dtype=torch.float32, **options):
    w, x, u = problem(kind, dtype)
    w.requires_grad_()
    x.requires_grad_()
    solution = fixed_point(
        cell, torch.zeros_like(x), w, x, solver=solver, gradient=gradient, **options
    )
    got = torch.autograd.grad(solution.value, (w, x), u)
    return solution, relative_error(got, gold(w, x, u))


def relative_error(got, expected):
    gap = sum((a.double() - b).square().sum() for a, b in zip(got, expected, strict=True))
    return (gap / sum(b.square().sum() for b in expected)).sqrt().item()


SOLVER = Anderson(max_steps=500)


@pytest.mark.parametrize("kind", ["contraction", "stiff", "not contractive"])
@pytest.mark.parametrize("accuracy", [1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("method", [GMRES(), Dense()])
def test_the_gradient_is_as_accurate_as_it_was_asked_to_be(kind, accuracy, method):
    gradient = Implicit(accuracy=accuracy, solver=method)
    solution, error = gradients(kind, gradient, SOLVER)
    assert error <= accuracy
    assert (solution.gradient_error <= accuracy).all()


@pytest.mark.parametrize("kind", ["contraction", "stiff"])
def test_picard_iteration_knows_its_error_from_its_rate(kind):
    solver = Picard(max_steps=5000, patience=500)
    solution, error = gradients(kind, Implicit(accuracy=1e-3), solver)
    assert error <= 1e-3
    assert (solution.gradient_error <= 1e-3).all()


@pytest.mark.parametrize("kind", ["contraction", "stiff", "not contractive"])
def test_the_estimate_is_no_more_than_pessimistic(kind):
    # An estimate that is always far too high would make every solve slow.
    solution, _ = gradients(kind, Implicit(accuracy=1e-3), SOLVER, dtype=F64)
    w, x, _ = problem(kind, F64)
    exact = fixed_point(
        cell, torch.zeros_like(x), w, x, solver=Anderson(rtol=1e-13, max_steps=2000)
    ).value
    true = (solution.value - exact).norm(dim=1) / exact.norm(dim=1)
    ratio = solution.error / true
    assert (ratio >= 0.3).all(), ratio
    assert (ratio <= 10).all(), ratio


def test_less_accuracy_costs_less():
    costs = []
    for accuracy in (1e-1, 1e-3, 1e-5):
        solution, _ = gradients("stiff", Implicit(accuracy=accuracy), SOLVER)
        costs.append((solution.evaluations, solution.adjoint[0].products))
    assert costs[0][0] < costs[1][0] < costs[2][0]
    assert costs[0][1] < costs[1][1] < costs[2][1]


def test_the_tolerance_of_the_solver_does_not_matter():
    runs = [
        gradients("stiff", Implicit(accuracy=1e-3), replace(SOLVER, rtol=rtol))[0]
        for rtol in (1e-1, 1e-9)
    ]
    assert runs[0].evaluations == runs[1].evaluations
    assert torch.equal(runs[0].value, runs[1].value)


def beyond_float32(on_failure, gradient=Implicit(accuracy=1e-5)):
    """1 / (1 - 0.999) times the rounding of float32 is 6e-5: no 1e-5 can be had."""
    w = symmetric_with(torch.linspace(-0.999, 0.999, 12, dtype=F64), seed=9).float()
    x = normal(4, 12, seed=10).float()
    return fixed_point(
        lambda z: z @ w + x,
        torch.zeros_like(x),
        solver=SOLVER,
        gradient=gradient,
        on_failure=on_failure,
    )


def test_a_gradient_that_is_used_by_another_speaks_up_as_well():
    with pytest.raises(ConvergenceError, match="samples missed the accuracy"):
        beyond_float32("raise", Switched(use=Implicit(accuracy=1e-5)))


def test_an_accuracy_beyond_the_dtype_is_not_passed_over_in_silence():
    with pytest.raises(ConvergenceError, match=r"samples missed the accuracy (.|\n)* float64"):
        beyond_float32("raise")
    with pytest.warns(ConvergenceWarning, match=r"samples missed the accuracy"):
        beyond_float32("warn")


def test_a_row_that_misses_its_accuracy_keeps_its_verdict_and_its_estimate():
    solution = beyond_float32("ignore")
    missed = solution.error > 1e-5
    assert missed.any()
    assert (solution.status[missed] == Status.CONVERGED).any()
    assert (solution.residual <= solution.tolerance)[solution.converged].all()


def test_easy_rows_are_not_held_up_by_hard_ones():
    rates = torch.tensor([[0.1], [0.99], [0.3]], dtype=F64)
    w, x = symmetric_with(torch.linspace(-1, 1, 8, dtype=F64), seed=5), normal(3, 8, seed=6)
    f = lambda z: rates * (z @ w.T) + x  # noqa: E731
    solution = fixed_point(f, torch.zeros_like(x), solver=SOLVER, gradient=Implicit(accuracy=1e-3))
    assert solution.steps[0] < solution.steps[2] < solution.steps[1]
    exact = torch.stack(
        [torch.linalg.solve(torch.eye(8, dtype=F64) - rates[i] * w, x[i]) for i in range(3)]
    )
    # 2: what the estimate may be off by.
    assert ((solution.value - exact).norm(dim=1) <= 2e-3 * exact.norm(dim=1)).all()


def test_each_block_is_held_to_the_accuracy():
    w, x = matrix(6, norm=0.9, seed=7, symmetric=True), normal(3, 6, seed=8)
    f = lambda s: (1e3 * torch.tanh(s[0] / 1e3 @ w.T + x), 1e-3 * torch.tanh(s[1] * 1e3 @ w + x))  # noqa: E731
    zero = torch.zeros(3, 6, dtype=F64)
    solution = fixed_point(f, (zero, zero), solver=SOLVER, gradient=Implicit(accuracy=1e-4))
    exact = fixed_point(f, (zero, zero), solver=replace(SOLVER, rtol=1e-13)).value
    for got, expected in zip(solution.value, exact, strict=True):
        assert ((got - expected).norm(dim=1) <= 1e-4 * expected.norm(dim=1)).all()


def test_without_an_accuracy_there_is_no_estimate():
    solution, _ = gradients("contraction", Implicit(), SOLVER)
    assert solution.error is None
    assert solution.gradient_error is None


@pytest.mark.parametrize("accuracy", [0.0, 1.0, -1e-3, float("nan")])
def test_an_accuracy_outside_its_domain_is_refused(accuracy):
    with pytest.raises(ValueError, match=r"accuracy must be in \(0, 1\)"):
        Implicit(accuracy=accuracy)


def test_methods_that_do_not_estimate_their_error_are_refused():
    with pytest.raises(ValueError, match=r"accuracy needs a linear method .* got Anderson"):
        Implicit(accuracy=1e-3, solver=Anderson())


def test_a_row_that_cannot_be_as_accurate_is_held_to_the_tolerance_of_the_solver():
    # In float32 an accuracy of 1e-6 is out of reach for slow rows: their tolerance is tightened
    # until nothing helps, and what they report is the one that they met first.
    w = matrix(16, norm=0.95, seed=40, symmetric=True).float()
    x, accuracy = normal(50, 16, seed=41).float(), 3e-7
    gradient, solver = Implicit(accuracy=accuracy), Picard(max_steps=1000)
    options = {"solver": solver, "gradient": gradient, "on_failure": "ignore"}
    solution = fixed_point(cell, torch.zeros_like(x), w, x, **options)
    missed = solution.converged & (solution.error > accuracy)
    assert 5 < missed.sum() < 50
    image, first = cell(solution.value, w, x), torch.tanh(x)
    allowed = accuracy * torch.minimum(image.norm(dim=1), 10 * first.norm(dim=1)).double()
    torch.testing.assert_close(solution.tolerance[missed], allowed[missed], rtol=1e-3, atol=0)
    assert (solution.tolerance[~missed] < 0.9 * allowed[~missed]).any()


def test_a_row_whose_slope_changes_within_the_error_says_so():
    # At kinks of relu the gradient may be off by far more than the value; where its residual at
    # the better point is larger than at the value, that is what the estimate must go by.
    n, dim, accuracy = 1800, 32, 1e-2
    w, x, u = matrix(dim, norm=0.9, seed=42), normal(n, dim, seed=43), normal(n, dim, seed=44)
    x.requires_grad_()
    f = lambda z, x: torch.relu(z @ w.T + x)  # noqa: E731
    options = {"gradient": Implicit(accuracy=accuracy), "on_failure": "ignore"}
    solution = fixed_point(f, torch.zeros(n, dim, dtype=F64), x, **options)
    (got,) = torch.autograd.grad(solution.value, x, u)
    z = torch.zeros(n, dim, dtype=F64)
    for _ in range(400):  # 0.9^400 < 1e-18
        z = f(z, x.detach())
    slope = (z > 0).double()
    system = torch.eye(dim, dtype=F64) - slope[:, :, None] * w
    expected = slope * torch.linalg.solve(system.mT, u[:, :, None])[:, :, 0]
    error = (got - expected).norm(dim=1) / expected.norm(dim=1)
    wrong = error > 3 * accuracy
    # Half of them: a kink that both points lie beyond is seen by neither.
    assert (wrong & (solution.gradient_error <= accuracy)).sum() <= 0.5 * wrong.sum()


def test_a_further_round_goes_on_from_the_v_of_the_last_one():
    """Three rounds take 5, 3 and 3 products; from nothing each takes as many as the first."""
    dim, accuracy = 256, 3e-2
    w, x = matrix(dim, norm=0.95, seed=0), 0.1 * normal(8, dim, seed=1)
    x.requires_grad_()
    f = lambda z, x: torch.relu(z @ w.T + x)  # noqa: E731
    options = {"gradient": Implicit(accuracy=accuracy), "solver": SOLVER}
    solution = fixed_point(f, torch.zeros(8, dim, dtype=F64), x, **options)
    (got,) = torch.autograd.grad(solution.value.sum(), x)
    exact = {"gradient": Implicit(solver=Dense()), "solver": replace(SOLVER, rtol=1e-12)}
    (expected,) = torch.autograd.grad(
        fixed_point(f, torch.zeros(8, dim, dtype=F64), x, **exact).value.sum(), x
    )
    assert ((got - expected).norm(dim=1) <= accuracy * expected.norm(dim=1)).all()
    assert 6 < solution.adjoint[-1].products <= 12
