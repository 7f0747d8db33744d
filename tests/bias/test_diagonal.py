"""The diagonal DEQ solves to its closed form, with the gradients of the closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.bias import DiagonalDEQ
from deqlab.errors import ConvergenceError
from deqlab.solvers import Anderson, Picard
from tests.problems import normal

SOLVERS = [None, Picard(rtol=1e-12, max_steps=2000), Anderson(rtol=1e-12, max_steps=200)]


def model(w, u=None, solver=None):
    options = {} if solver is None else {"solver": solver}
    return DiagonalDEQ(w, u, **options)


def stable(seed, n=5):
    generator = torch.Generator().manual_seed(seed)
    return 1.8 * torch.rand(n, generator=generator, dtype=torch.float64) - 0.9


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("solver", SOLVERS, ids=["newton", "picard", "anderson"])
def test_value_and_gradients_are_those_of_the_closed_form(solver, gated):
    w, u = stable(0), normal(5, seed=1) if gated else None
    deq, x = model(w, u, solver), normal(3, 5, seed=2)
    y = deq(x)
    leaf = w.clone().requires_grad_()
    gate = torch.ones(5, dtype=w.dtype) if u is None else u.clone().requires_grad_()
    expected = x @ (gate / (1 - leaf))
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(y, x @ deq.coefficients, rtol=1e-9, atol=1e-9)
    (y**3).sum().backward()
    (expected**3).sum().backward()
    torch.testing.assert_close(deq.cell.w.grad, leaf.grad, rtol=1e-7, atol=1e-7)
    if gated:
        torch.testing.assert_close(deq.cell.u.grad, gate.grad, rtol=1e-7, atol=1e-7)
    assert len(list(deq.parameters())) == 1 + gated


@settings(deadline=None, max_examples=20)
@given(st.floats(-50, 0.99))
def test_the_default_solves_below_minus_one_too(w):
    deq = model(torch.tensor([w], dtype=torch.float64))
    y = deq(torch.ones(1, 1, dtype=torch.float64)).item()
    assert y == pytest.approx(1 / (1 - w), rel=1e-4)


def test_an_iteration_that_leaves_the_equilibrium_raises():
    deq = model(torch.tensor([0.0, -1.5]), solver=Picard(max_steps=100))
    with pytest.raises(ConvergenceError, match=r"DEQ\(DiagonalCell\): 1 of 1 samples"):
        deq(torch.ones(1, 2))


@pytest.mark.parametrize("w", [1.0, 2.0, float("nan")])
def test_weights_without_an_equilibrium_are_refused_at_the_start_and_later(w):
    with pytest.raises(ValueError, match=rf"w must be below 1, got w\[1\] = {w:g}"):
        model(torch.tensor([0.0, w]))
    deq = model(torch.zeros(2))
    with torch.no_grad():
        deq.cell.w[1] = w
    with pytest.raises(ValueError, match=rf"w must be below 1, got w\[1\] = {w:g}"):
        deq(torch.ones(1, 2))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"one weight per feature, got \(2,\) and \(3,\)"):
        model(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="x has 3 features and w 2"):
        model(torch.zeros(2))(torch.ones(1, 3))
