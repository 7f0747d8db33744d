"""Loops are a recurrent network that is written out by hand, and tell whether that has settled."""

import copy
import pickle

import pytest
import torch

from deqlab import DEQ, Anderson, ConvergenceError, Picard, fixed_point
from deqlab.gradients import (
    Implicit,
    JacobianFree,
    Loops,
    Phantom,
    RandomLoops,
    Switched,
    Unrolled,
)
from deqlab.nn import ConvCell, DenseCell, SpectralNorm
from deqlab.training import ConvergenceLog, RateControl


def f(z, x, w):
    return torch.tanh(z @ w + x)


def problem(dtype=torch.float64):
    torch.manual_seed(0)
    x, w = torch.randn(5, 3, dtype=dtype), 0.4 * torch.randn(3, 3, dtype=dtype)
    z0 = torch.randn(5, 3, dtype=dtype)
    return [t.requires_grad_() for t in (z0, x, w)]


def by_hand(z, x, w, steps, damping=1.0, cut=0):
    for step in range(steps):
        if step == cut and cut > 0:
            z = z.detach()
        z = (1 - damping) * z + damping * f(z, x, w)
    return z


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("damping", [1.0, 0.6])
def test_value_and_gradient_are_those_of_the_loop_by_hand(steps, damping):
    z0, x, w = problem()
    u = torch.randn(5, 3, dtype=torch.float64)
    found = fixed_point(f, z0, x, w, gradient=Loops(steps=steps, damping=damping))
    expected = by_hand(z0, x, w, steps, damping)
    torch.testing.assert_close(found.value, expected, rtol=1e-14, atol=0)
    got = torch.autograd.grad((found.value * u).sum(), (z0, x, w))
    right = torch.autograd.grad((expected * u).sum(), (z0, x, w))
    for each, other in zip(got, right, strict=True):
        torch.testing.assert_close(each, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("last", [1, 3])
def test_the_last_steps_alone_are_differentiated(last):
    z0, x, w = problem()
    found = fixed_point(f, z0, x, w, gradient=Loops(steps=6, differentiated=last))
    expected = by_hand(z0, x, w, 6, cut=6 - last)
    got = torch.autograd.grad(found.value.sum(), (x, w))
    right = torch.autograd.grad(expected.sum(), (x, w))
    for each, other in zip(got, right, strict=True):
        torch.testing.assert_close(each, other, rtol=1e-12, atol=1e-14)
    (at_start,) = torch.autograd.grad(
        fixed_point(f, z0, x, w, gradient=Loops(steps=6, differentiated=last)).value.sum(),
        z0,
        allow_unused=True,
    )
    assert at_start is None or not at_start.any()


def test_the_verdict_is_that_of_one_more_evaluation():
    z0, x, w = problem()
    found = fixed_point(f, z0, x, w, solver=Picard(rtol=1e-2), gradient=Loops(steps=4))
    z = by_hand(z0, x, w, 4)
    fz = f(z, x, w)
    residual = (fz - z).norm(dim=1).detach()
    torch.testing.assert_close(found.residual, residual, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.tolerance, 1e-2 * fz.norm(dim=1).detach(), rtol=1e-10, atol=0)
    assert torch.equal(found.converged, found.residual <= found.tolerance)
    assert found.converged.any()
    assert not found.converged.all()
    assert found.evaluations == 5
    assert found.trace.shape == (5, 5)
    states = [by_hand(z0, x, w, t) for t in range(5)]
    for row, z in zip(found.trace, states, strict=True):
        torch.testing.assert_close(row, (f(z, x, w) - z).norm(dim=1).detach())


def test_many_loops_of_a_contraction_are_its_equilibrium_in_value_and_gradient():
    _, x, w = problem()
    z0 = torch.zeros_like(x)
    loops = fixed_point(f, z0, x, w, gradient=Loops(steps=200))
    solved = fixed_point(f, z0, x, w, solver=Anderson(rtol=1e-13), gradient=Implicit())
    assert loops.converged.all()
    torch.testing.assert_close(loops.value, solved.value, rtol=1e-10, atol=1e-12)
    got = torch.autograd.grad(loops.value.square().sum(), (x, w))
    right = torch.autograd.grad(solved.value.square().sum(), (x, w))
    for each, other in zip(got, right, strict=True):
        torch.testing.assert_close(each, other, rtol=1e-9, atol=1e-11)


def test_a_loop_off_its_equilibrium_is_no_failure_but_nan_is():
    z0, x, w = problem()
    found = fixed_point(
        lambda z, x, w: 3 * z + x, z0, x, w, gradient=Loops(steps=3), on_failure="raise"
    )
    assert not found.converged.any()
    with pytest.raises(ConvergenceError, match="inf or nan"):
        fixed_point(
            lambda z, x, w: torch.log(z - x), z0, x, w, gradient=Loops(steps=3), on_failure="raise"
        )


def test_recorded_states_carry_the_gradient_of_their_own_loops():
    z0, x, w = problem()
    found = fixed_point(f, z0, x, w, solver=Picard(record=(2, 4)), gradient=Loops(steps=4))
    for state, steps in zip(found.states, (1, 3), strict=True):
        expected = by_hand(z0, x, w, steps)
        torch.testing.assert_close(state, expected)
        got = torch.autograd.grad(state.sum(), w, retain_graph=True)
        torch.testing.assert_close(got, torch.autograd.grad(expected.sum(), w))


def test_writing_to_the_value_does_not_spoil_the_gradient():
    z0, x, w = problem()
    expected = torch.autograd.grad(by_hand(z0, x, w, 3).sum(), w)
    value = fixed_point(f, z0, x, w, gradient=Loops(steps=3)).value
    total = value.sum()
    with torch.no_grad():
        value.zero_()
    torch.testing.assert_close(torch.autograd.grad(total, w), expected)


def test_random_loops_are_one_and_a_poisson_number_in_train_mode_and_their_mean_in_eval_mode():
    torch.manual_seed(3)
    layer = DEQ(DenseCell(3, 4), gradient=RandomLoops(mean=5.0, differentiated=2))
    x = torch.randn(2, 3)
    counts = []
    for _ in range(150):
        layer(x)
        counts.append(layer.last.evaluations - 1)
    counts = torch.tensor(counts, dtype=torch.float64)
    # Poisson(4): variance 4, so that the mean of 150 has a deviation of .16.
    assert abs(counts.mean() - 5) < 0.6
    assert 2.2 < counts.var() < 6.5
    assert counts.min() >= 1
    layer.eval()
    layer(x)
    assert layer.last.evaluations == 6


def test_the_switch_is_an_attribute_of_the_layer_and_the_weights_stay():
    torch.manual_seed(0)
    layer = DEQ(DenseCell(3, 4), solver=Anderson(rtol=1e-6))
    x = torch.randn(6, 3)
    z_star = layer(x)
    far = []
    for k in (1, 2, 4, 8, 64):
        layer.gradient = Loops(steps=k)
        far.append((layer(x) - z_star).norm().item())
    assert far == sorted(far, reverse=True)
    assert far[-1] < 1e-4
    for gradient in (Implicit(), Phantom(), JacobianFree(), Unrolled(steps=3)):
        layer.gradient = gradient
        torch.testing.assert_close(layer(x), z_star)


def test_log_and_control_hold_for_loops_too():
    torch.manual_seed(0)
    cell = ConvCell(4, (6, 6), arrangement="outer", gain=4.0)
    layer = DEQ(cell, solver=Anderson(rtol=1e-2), gradient=Loops(steps=3))
    log, control = ConvergenceLog(layer, policy=()), RateControl(layer, target=0.1)
    before = cell.gain.item()
    layer(torch.randn(2, 4, 6, 6)).sum().backward()
    control.step()
    log.step()
    row = log.row()
    assert row["evaluations"] == 4
    assert 0 <= row["train_converged"] <= 1
    assert cell.gain.item() < before


def test_a_loop_is_a_value():
    for loops in (Loops(steps=3, differentiated=1, damping=0.5), RandomLoops(mean=3.5)):
        assert pickle.loads(pickle.dumps(loops)) == loops
        assert copy.deepcopy(loops) == loops


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (Loops, {"steps": 0}, "steps"),
        (Loops, {"steps": 2.5}, "steps"),
        (Loops, {"differentiated": 0}, "differentiated"),
        (Loops, {"damping": 0.0}, "damping"),
        (RandomLoops, {"mean": 0.5}, "mean"),
        (RandomLoops, {"mean": float("nan")}, "mean"),
        (RandomLoops, {"differentiated": 0}, "differentiated"),
    ],
)
def test_what_is_out_of_its_domain_is_named(kind, settings, named):
    with pytest.raises((TypeError, ValueError), match=named):
        kind(**settings)


def test_one_layer_trains_by_loops_and_is_used_at_its_equilibrium():
    torch.manual_seed(0)
    switched = Switched(train=Loops(steps=3), use=Implicit())
    layer = DEQ(DenseCell(3, 4, constraint=SpectralNorm(0.5)), gradient=switched)
    x = torch.randn(5, 3)
    layer(x)
    assert layer.last.evaluations == 4
    assert not layer.last.converged.all()
    layer.eval()
    layer(x)
    assert layer.last.converged.all()
    z = fixed_point(f, torch.zeros(5, 3), x, 0.1 * torch.eye(3), gradient=switched)
    assert z.converged.all()
    assert pickle.loads(pickle.dumps(switched)) == switched


def test_a_switch_takes_the_mean_of_random_loops_where_it_is_used():
    layer = DEQ(DenseCell(3, 4), gradient=Switched(train=Implicit(), use=RandomLoops(mean=4.0)))
    layer.eval()
    layer(torch.randn(2, 3))
    assert layer.last.evaluations == 5
