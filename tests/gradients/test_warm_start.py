"""An adjoint that starts at a v from before: the same gradient, by fewer products."""

import pytest
import torch

from deqlab import DEQ, fixed_point
from deqlab.compiled.gradients import check_gradient
from deqlab.gradients import GMRES, Dense, Implicit
from deqlab.nn import DenseCell, SpectralNorm
from deqlab.solvers import Anderson, Picard
from deqlab.training import WarmStarts
from tests.problems import F64, matrix, normal

W = matrix(12, norm=0.95, seed=0, symmetric=True)
U = normal(5, 12, seed=1)
EXACT = torch.linalg.solve(torch.eye(12, dtype=F64) - W, U.T).T  # v = W'v + u, v as a row


def solve(start, *, w=W, rtol=1e-10, x=None, **options):
    x = normal(5, 12, seed=2).requires_grad_() if x is None else x
    gradient = Implicit(solver=GMRES(rtol=rtol), warm_start=start)
    f = lambda z, x: z @ w.T + x  # noqa: E731
    return x, fixed_point(f, torch.zeros_like(x), x, gradient=gradient, **options)


def adjoint(start, u=U, **options):
    """The gradient of x, which is v, and the verdicts on it."""
    x, solution = solve(start, **options)
    solution.value.backward(u)
    return x.grad, solution.adjoint[0]


STARTS = {
    "right": EXACT,
    "of other samples": EXACT.flip(0),
    "of the other sign": -EXACT,
    "of another size": 1e9 * EXACT,
    "random": normal(5, 12, seed=3),
    "zero": torch.zeros(5, 12, dtype=F64),
    "not a number": torch.full((5, 12), torch.nan, dtype=F64),
    "infinite": torch.full((5, 12), torch.inf, dtype=F64),
    "in another precision": EXACT.float(),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_the_gradient_is_that_of_a_dense_solve_wherever_it_starts(start):
    found, verdict = adjoint(start)
    assert verdict.converged.all()
    # |v - v*| <= |r| / (1 - .95)
    assert ((found - EXACT).norm(dim=1) <= 1e-10 * U.norm(dim=1) / 0.05).all()


def test_a_right_start_of_any_size_and_sign_takes_one_product():
    for factor in (1.0, -1.0, 1e9, 1e-9):
        assert adjoint(factor * EXACT)[1].products == 1


def test_a_start_from_a_step_before_saves_products_and_one_of_other_samples_costs_one():
    cold = adjoint(None, rtol=1e-4)[1].products
    before, _ = adjoint(None, w=W + matrix(12, norm=1e-4, seed=4), rtol=1e-4)
    assert adjoint(before, rtol=1e-4)[1].products <= cold / 2
    assert adjoint(EXACT.flip(0), rtol=1e-4)[1].products <= cold + 1


def test_a_row_does_not_depend_on_the_starts_of_others():
    rows = torch.arange(5)[:, None]
    mixed = torch.where(rows < 2, EXACT, torch.nan)
    alone, together = adjoint(None)[0], adjoint(mixed)[0]
    torch.testing.assert_close(together[2:], alone[2:], rtol=1e-8, atol=0)
    torch.testing.assert_close(together[:2], EXACT[:2], rtol=1e-9, atol=0)


def test_the_start_is_in_the_units_of_each_block():
    # z = (a, b) with b in units of 1e-6: v of b is a million times that of a.
    sizes = torch.cat([torch.ones(7, dtype=F64), torch.full((5,), 1e-6, dtype=F64)])
    w = sizes[:, None] * W / sizes
    v = torch.linalg.solve(torch.eye(12, dtype=F64) - w.T, (U / sizes).T).T
    x = normal(5, 12, seed=2)
    f = lambda z, x: torch.cat(z, dim=1) @ w.T + x  # noqa: E731
    solution = fixed_point(
        lambda z, x: f(z, x).split((7, 5), dim=1),
        (torch.zeros(5, 7, dtype=F64), torch.zeros(5, 5, dtype=F64)),
        x.requires_grad_(),
        gradient=Implicit(solver=GMRES(rtol=1e-10), warm_start=3 * v),
    )
    torch.cat(solution.value, dim=1).backward(U / sizes)
    assert solution.adjoint[0].products == 2  # one of them measures the blocks
    torch.testing.assert_close(x.grad, v, rtol=1e-8, atol=0)


def test_rows_that_nobody_waits_for_take_no_product():
    solver = Picard(rtol=1e-12, max_steps=1)
    _, verdict = adjoint(EXACT, solver=solver, on_failure="ignore")
    assert verdict.products == 0


def test_a_second_derivative_is_the_same():
    def second(start):
        w = W.clone().requires_grad_()
        x = normal(5, 12, seed=2).requires_grad_()
        solution = fixed_point(
            lambda z, x: torch.tanh(z @ w.T + x),
            torch.zeros_like(x),
            x,
            solver=Anderson(rtol=1e-11),
            gradient=Implicit(warm_start=start),
        )
        (first,) = torch.autograd.grad(solution.value.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), w)[0]

    torch.testing.assert_close(second(EXACT), second(None), rtol=1e-8, atol=1e-10)


def test_transforms_start_without_it():
    solutions = []

    def value(x):
        solutions.append(solve(EXACT, x=x)[1])
        return (solutions[-1].value * U).sum()

    found = torch.func.grad(value)(normal(5, 12, seed=2))
    torch.testing.assert_close(found, EXACT, rtol=1e-8, atol=0)
    assert solutions[0].adjoint[0].products == adjoint(None)[1].products


def test_what_the_caller_keeps_is_not_written_to_and_gets_no_gradient():
    start = (2 * EXACT).requires_grad_()
    adjoint(start)
    assert start.grad is None
    assert torch.equal(start, 2 * EXACT)


def test_samples_that_come_again_start_at_their_own_v():
    torch.manual_seed(0)
    deq = DEQ(DenseCell(3, 8, constraint=SpectralNorm(0.95)), solver=Anderson(rtol=1e-6))
    x, kept, counts = torch.randn(12, 3), WarmStarts(12), []
    for rows in torch.randperm(12).view(3, 4).tile(2, 1):
        start = kept.of(rows, torch.zeros(4, 8))
        deq.gradient = Implicit(warm_start=start)
        deq(x[rows]).square().sum().backward()
        kept.keep(rows, deq.last.adjoint[-1].value)
        counts.append(deq.last.adjoint[-1].products)
    assert min(counts[:3]) > 3
    assert counts[3:] == [1, 1, 1]


REFUSED = {
    "it has the shape of another batch": (
        ValueError,
        r"warm_start has the shape \(3, 12\), and v in this solve \(5, 12\)",
        lambda: solve(EXACT[:3]),
    ),
    "it is no tensor": (
        TypeError,
        "warm_start",
        lambda: Implicit(warm_start=True),
    ),
    "another method solves": (
        ValueError,
        "warm_start is a start of GMRES, and solver is Dense",
        lambda: Implicit(solver=Dense(), warm_start=EXACT),
    ),
    "an accuracy is asked for": (
        ValueError,
        "warm_start hides how fast residuals fall",
        lambda: Implicit(accuracy=1e-3, warm_start=EXACT),
    ),
    "it would be compiled": (
        NotImplementedError,
        "warm_start is not compiled",
        lambda: check_gradient(Implicit(warm_start=EXACT)),
    ),
}


@pytest.mark.parametrize(("error", "sentence", "ask"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_where(error, sentence, ask):
    with pytest.raises(error, match=sentence):
        ask()
