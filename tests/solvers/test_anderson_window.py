"""The window of differences: the same numbers in numpy and in torch, and those of plain algebra."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from deqlab import Anderson, fixed_point
from deqlab.gradients import Unrolled
from deqlab.solvers.anderson_window import Window
from tests.problems import F64, matrix, normal


def filled(points, m, *, taped):
    """A window that has seen these pairs (f(z), g)."""
    window = Window.for_states(points[0][0], m, taped=taped)
    for i, (fz, g) in enumerate(points):
        if i:
            window.close(window.array(fz), window.array(g))
        if i < len(points) - 1:
            window.hold(window.array(fz), window.array(g))
    return window


def points(count, seed=0):
    return [
        (normal(3, 5, seed=seed + 2 * i), normal(3, 5, seed=seed + 2 * i + 1)) for i in range(count)
    ]


@pytest.mark.parametrize("taped", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_it_holds_the_last_differences_and_their_gram_matrix(taped, count):
    m, pairs = 3, points(count)
    window = filled(pairs, m, taped=taped)
    dg = [b[1] - a[1] for a, b in pairwise(pairs)][-m:]
    held = torch.as_tensor(window.dg)[:, : window.used]
    assert window.used == len(dg)
    # In whatever order the columns stand.
    for difference in dg:
        gap = (held - difference[:, None]).norm(dim=2).min(dim=1).values
        torch.testing.assert_close(gap, torch.zeros(3, dtype=F64), rtol=0, atol=1e-14)
    gram = torch.as_tensor(window.gram)[:, : window.used, : window.used]
    torch.testing.assert_close(gram, held @ held.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("taped", [False, True])
def test_the_coefficients_are_those_of_least_squares(taped):
    pairs = points(4)
    window = filled(pairs, 3, taped=taped)
    g = pairs[-1][1]
    c = torch.as_tensor(window.coefficients(window.array(g), 0.0))
    dg = torch.as_tensor(window.dg)
    expected = torch.linalg.lstsq(dg.mT, g[:, :, None]).solution[:, :, 0]
    torch.testing.assert_close(c, expected, rtol=1e-9, atol=1e-9)
    moved = window.less_dg(window.array(g), window.coefficients(window.array(g), 0.0))
    # What is left is orthogonal to every column.
    rest = torch.as_tensor(moved)
    torch.testing.assert_close(
        (dg @ rest[:, :, None]).squeeze(2), torch.zeros(3, 3, dtype=F64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("taped", [False, True])
def test_a_forgotten_row_has_no_coefficients_and_the_others_keep_theirs(taped):
    pairs = points(4)
    window, g = filled(pairs, 3, taped=taped), pairs[-1][1]
    before = torch.as_tensor(window.coefficients(window.array(g), 1e-10)).clone()
    rows = np.array([False, True, False])
    window.forget(torch.from_numpy(rows) if taped else rows)
    after = torch.as_tensor(window.coefficients(window.array(g), 1e-10))
    assert torch.equal(after[1], torch.zeros(3, dtype=F64))
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=0)


@pytest.mark.parametrize("taped", [False, True])
def test_dependent_columns_give_finite_coefficients(taped):
    g = normal(3, 5, seed=40)
    pairs = [(i * g, i * g) for i in (1.0, 2.0, 3.0, 4.0)]
    window = filled(pairs, 3, taped=taped)
    for ridge in (0.0, 1e-10):
        assert torch.as_tensor(window.coefficients(window.array(g), ridge)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_states_in_half_precision_are_kept_in_float32(dtype):
    z = torch.zeros(2, 3, dtype=dtype)
    assert Window.for_states(z, 2, taped=False).dg.dtype == np.float32
    assert Window.for_states(z, 2, taped=True).dg.dtype == torch.float32


@pytest.mark.parametrize("damping", [1.0, 0.7])
@pytest.mark.parametrize("rtol", [1e-4, 1e-10])
def test_a_solve_takes_the_same_steps_in_numpy_and_in_torch(damping, rtol):
    w, x = matrix(6, norm=0.95, seed=50, symmetric=True), normal(4, 6, seed=51)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    solver = Anderson(rtol=rtol, damping=damping, max_steps=300)
    host, taped = (
        fixed_point(f, torch.zeros_like(x), solver=replace(solver), **options)
        for options in ({}, {"gradient": Unrolled()})
    )
    assert torch.equal(host.steps, taped.steps)
    torch.testing.assert_close(host.value, taped.value, rtol=1e-9, atol=1e-12)


def test_a_large_block_does_not_drown_a_small_one():
    # Two copies of one problem, one in units of 1e6: without weights the small copy would get the
    # coefficients of the large one, and take as many steps as both together.
    w, x = matrix(8, norm=0.97, seed=60, symmetric=True), normal(3, 8, seed=61)
    y = normal(3, 8, seed=62)
    f = lambda s: (1e6 * torch.tanh(s[0] / 1e6 @ w.T + x), torch.tanh(s[1] @ w.T + y))  # noqa: E731
    g = lambda s: (torch.tanh(s[0] @ w.T + x), torch.tanh(s[1] @ w.T + y))  # noqa: E731
    zero = torch.zeros(3, 8, dtype=F64)
    scaled, plain = (
        fixed_point(h, (zero, zero), solver=Anderson(rtol=1e-8, atol=0.0, max_steps=300))
        for h in (f, g)
    )
    assert (scaled.steps - plain.steps).abs().max() <= 1
    torch.testing.assert_close(scaled.value[1], plain.value[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("blocks", [None, (8, 4)])
@pytest.mark.parametrize("damping", [1.0, 0.7])
def test_steps_by_parts_are_the_steps_of_the_whole(damping, blocks, monkeypatch):
    """Rows of a large state are worked on a few at a time; row 2 restarts on the way."""
    x = normal(5, 12, seed=0) * torch.tensor([1.0] * 8 + [100.0] * 4)
    x[4] *= 1e-3
    eigenvalues = torch.linspace(-0.9, 0.9, 12, dtype=F64)

    def f(z):
        far = torch.zeros_like(z)
        far[2] = 3.0 * torch.sin(5.0 * z[2])
        return eigenvalues * z + x + far

    solver = Anderson(max_steps=25, memory=3, damping=damping)
    start = torch.zeros_like(x)
    whole = solver.solve(f, start, blocks=blocks)
    monkeypatch.setattr("deqlab.solvers.anderson_window.CACHED", 24)  # two rows at a time
    window = Window.for_states(start, 3, taped=False)
    assert window.parts() == [slice(0, 2), slice(2, 4), slice(4, 6)]
    parts = solver.solve(f, start, blocks=blocks)
    torch.testing.assert_close(parts.value, whole.value, rtol=1e-9, atol=1e-9)
    assert torch.equal(parts.status, whole.status)
    assert torch.equal(parts.steps, whole.steps)
