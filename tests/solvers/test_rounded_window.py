"""A window in fewer bits: as many iterations, half the memory, the same answers."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from deqlab import Anderson, Picard, fixed_point
from deqlab.costs import peak_memory
from deqlab.gradients import Unrolled
from deqlab.solvers import anderson_window, rounded_window
from deqlab.solvers.rounded_window import RoundedWindow
from tests.problems import F64, matrix, normal

F32, BF16 = torch.float32, torch.bfloat16
KINDS = [(F32, BF16), (F64, F32), (F64, BF16)]

every_kind = pytest.mark.parametrize(
    ("dtype", "window"), KINDS, ids=lambda dtype: str(dtype).removeprefix("torch.")
)


def symmetric(n, least, most, dtype):
    q = torch.linalg.qr(normal(n, n, seed=3)).Q
    return ((q * torch.linspace(least, most, n, dtype=F64)) @ q.mT).to(dtype)


def rtol(dtype):
    return 1e-5 if dtype == F32 else 1e-10


@every_kind
@pytest.mark.parametrize("memory", [3, 10])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_it_finds_the_solution_of_a_dense_solve_in_as_many_iterations(dtype, window, memory, scale):
    w, x = symmetric(60, -0.95, 0.9, dtype), normal(8, 60, seed=4).to(dtype)
    solver = Anderson(memory=memory, rtol=rtol(dtype), max_steps=1000)

    def solve(solver, scale=1.0):
        return fixed_point(lambda z: z @ w + scale * x, torch.zeros_like(x), solver=solver)

    # Float32 has no room for squares of 1e30, with which a window in full would have to be content.
    whole, rounded = solve(solver), solve(replace(solver, window_dtype=window), scale)
    gold = torch.linalg.solve(torch.eye(60, dtype=F64) - w.double(), scale * x.double().mT).mT
    error = (rounded.value.double() - gold).norm(dim=1) / gold.norm(dim=1)
    assert error.max() < 20 * rtol(dtype)  # 1 / (1 - .9) times the residual, and a margin
    assert rounded.evaluations <= 1.1 * whole.evaluations + 2
    plain = Picard(rtol=rtol(dtype), max_steps=1000)
    assert whole.evaluations < 0.8 * solve(plain).evaluations  # the window helps here at all


@every_kind
def test_the_last_point_is_not_rounded(dtype, window):
    """The next difference is what is left when two points cancel."""
    rows = RoundedWindow.of_dtype(window, torch.zeros(2, 4, dtype=dtype), 3)
    first, second = (rows.array(normal(2, 4, seed=seed).to(dtype)) for seed in (1, 2))
    step = 1e-5 * rows.array(normal(2, 4, seed=5).to(dtype))
    rows.hold(first, second)
    for kept, given in zip(rows.held(), (first, second), strict=True):
        np.testing.assert_array_equal(kept, given)
        assert not np.shares_memory(kept, given)
    fz, g = first + step, second - 2 * step
    rows.close(fz, g)
    eps = torch.finfo(window).eps
    stored = [column[:, 0].to(dtype).numpy() for column in (rows.df, rows.dg)]
    differences = (fz - first, g - second)
    units = [norms(each) / norms(kept) for each, kept in zip(differences, stored, strict=True)]
    for difference, kept, unit in zip(differences, stored, units, strict=True):
        np.testing.assert_allclose(kept * unit, difference, rtol=4 * eps)
    # A coefficient for columns of dG as they are stored moves f(z) by as much.
    for less, at, difference in zip(
        (rows.less_df, rows.less_dg), (fz, g), differences, strict=True
    ):
        np.testing.assert_allclose(at - less(at, units[1]), difference, rtol=8 * eps, atol=3e-7)


def norms(rows):
    return np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_gram_matrix_is_that_of_what_is_stored():
    rows = RoundedWindow.of_dtype(BF16, torch.zeros(3, 50, dtype=F32), 4)
    for seed in range(6):
        fz, g = (rows.array(normal(3, 50, seed=each).float()) for each in (seed, seed + 100))
        if seed:
            rows.close(fz, g)
        rows.hold(fz, g)
    stored = rows.dg.double()
    np.testing.assert_allclose(rows.gram, stored @ stored.mT, rtol=1e-5, atol=1e-5)


def test_pieces_change_nothing(monkeypatch):
    w, x = symmetric(60, -0.9, 0.8, F32), normal(8, 60, seed=4).float()
    solver = Anderson(window_dtype=BF16)

    def value():
        return fixed_point(lambda z: z @ w + x, torch.zeros_like(x), solver=solver).value

    whole = value()
    monkeypatch.setattr(rounded_window, "PIECE", 8 * 5 * 7)
    torch.testing.assert_close(value(), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory", [3, 10])
def test_its_memory_is_as_documented(memory):
    x = normal(8, 200_000, seed=0).float()
    slopes = torch.linspace(-0.98, 0.98, 200_000)

    def states(window):
        solver = Anderson(memory=memory, window_dtype=window, rtol=0.0, max_steps=15, patience=20)

        def run():
            fixed_point(
                lambda z: torch.tanh(z).mul_(slopes).add_(x),
                torch.zeros_like(x),
                solver=solver,
                on_failure="ignore",
            )

        storages = peak_memory(run, [x, slopes]) - x.nbytes  # no memory of numpy's own
        tracemalloc.start()
        run()
        arrays = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return (storages + arrays) / x.nbytes

    saved = states(None) - states(BF16)
    assert abs(saved - (memory - 2)) < 0.5


def test_rows_that_are_worked_on_a_few_at_a_time_have_the_same_steps(monkeypatch):
    """With restarts, and with a block that wakes: what a few rows learn must not be lost."""
    x, unit = normal(7, 6, seed=4), 1e-60  # beyond the range of the window
    w = 2.5 * symmetric(6, -0.9, 0.8, F64)
    solver = Anderson(window_dtype=F32, growth=1.01, rtol=1e-9, max_steps=200)

    def f(state):
        a, b = state
        return torch.tanh(a @ w + x) + 0.1 * b / unit, 0.5 * b + unit * torch.sin(a)

    def solve():
        z0 = (torch.zeros_like(x), torch.zeros_like(x))
        return fixed_point(f, z0, solver=solver, on_failure="ignore")

    together = solve()
    restarts = []
    forget = RoundedWindow.forget
    monkeypatch.setattr(
        RoundedWindow, "forget", lambda self, rows: (restarts.append(len(rows)), forget(self, rows))
    )
    monkeypatch.setattr(anderson_window, "CACHED", 2 * 12)
    apart = solve()
    assert max(restarts) == 7  # a block woke
    assert min(restarts) < 3  # and a row began again
    assert together.converged.any()
    assert apart.steps.tolist() == together.steps.tolist()
    for one, other in zip(apart.value, together.value, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=0)


def test_a_row_does_not_depend_on_its_neighbours():
    """One is 1e20 times larger, one diverges, one is nan: the others are what they are alone."""
    w = symmetric(20, -0.9, 0.8, F32)
    x, gain = normal(4, 20, seed=4).float(), torch.tensor([1.0, 1.0, 3.0, 1.0])[:, None]
    x[1] *= 1e20
    x[3, 0] = torch.nan
    solver = Anderson(window_dtype=BF16)

    def solve(rows):
        def f(z):
            return gain[rows] * (z @ w) + x[rows]

        z0 = torch.zeros_like(x[rows])
        return fixed_point(f, z0, solver=solver, on_failure="ignore")

    together = solve(slice(None))
    for row in range(4):
        alone = solve(slice(row, row + 1))
        assert alone.converged[0] == together.converged[row]
        assert alone.converged[0] == (row < 2)
        if alone.converged[0]:
            torch.testing.assert_close(alone.value[0], together.value[row], rtol=1e-4, atol=0)


def test_a_tape_gets_the_window_as_it_is():
    w, x = symmetric(12, -0.8, 0.8, F32), normal(3, 12, seed=4).float().requires_grad_()
    found = [
        fixed_point(
            lambda z: torch.tanh(z @ w) + x,
            torch.zeros(3, 12),
            solver=Anderson(window_dtype=window),
            gradient=Unrolled(),
        ).value
        for window in (None, BF16)
    ]
    assert torch.equal(*found)
    assert torch.equal(*(torch.autograd.grad(value.sum(), x)[0] for value in found))


@pytest.mark.parametrize(
    ("dtype", "window", "same"),
    [(F32, F32, True), (torch.float16, F32, True), (BF16, F32, True), (BF16, BF16, False)],
)
def test_a_window_has_no_more_bits_than_it_would_have(dtype, window, same):
    """States of half precision have a window in float32 otherwise."""
    w, x = matrix(12, norm=0.5, seed=0).to(dtype), normal(3, 12, seed=4).to(dtype)
    solver = Anderson(window_dtype=window, rtol=3e-2)
    values = [
        fixed_point(lambda z: torch.tanh(z @ w) + x, torch.zeros_like(x), solver=each).value
        for each in (solver, replace(solver, window_dtype=None))
    ]
    if same:
        assert torch.equal(*values)
    torch.testing.assert_close(*values, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("window", [torch.float16, torch.int32])
def test_other_dtypes_are_refused(window):
    with pytest.raises(ValueError, match=r"window_dtype must be torch\.bfloat16, torch\.float32"):
        Anderson(window_dtype=window)
