"""Flows end where their potential says, conserve what they must, and discretise to first order."""

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from deqlab.bias import (
    FlowError,
    Gated,
    Linear,
    NoFitError,
    Product,
    Recurrent,
    bregman,
    closest_fit,
    gradient_flow,
    kkt_residual,
    participation_ratio,
)
from tests.bias.problems import problem, starts

STARTS = starts()


@pytest.fixture(scope="module", params=list(STARTS))
def followed(request):
    """A model, its start, the data, and the flow on it."""
    model, start = STARTS[request.param]
    x, y, beta = problem(0)
    return model, start, x, y, beta, gradient_flow(model, start, x, y)


def test_the_limit_is_the_closest_fit(followed):
    model, start, x, y, _, flow = followed
    potential, first = model.potential(start), model.coefficients(start)
    assert kkt_residual(potential, first, x, y, flow.limit) < 1e-6
    closest = closest_fit(potential, first, x, y)
    assert kkt_residual(potential, first, x, y, closest.coefficients) < 1e-12
    np.testing.assert_allclose(flow.limit, closest.coefficients, rtol=1e-6, atol=1e-8)
    moved = potential.slope(closest.coefficients) - potential.slope(first)
    np.testing.assert_allclose(x.T @ closest.multipliers, moved, rtol=1e-9, atol=1e-9)


def test_what_is_conserved_stays(followed):
    model, start, _, _, _, flow = followed
    first = model.conserved(start)
    assert len(first) == (0 if model.num_kinds == 1 else 1)
    for p in flow.parameters:
        np.testing.assert_allclose(model.conserved(p), first, rtol=0, atol=1e-8)


def test_the_loss_falls_to_the_fit_that_was_asked_for(followed):
    model, start, x, y, _, flow = followed
    assert flow.times[0] == 0
    np.testing.assert_array_equal(flow.parameters[0], start)
    residual = np.linalg.norm(x @ flow.limit - y)
    assert residual <= 1.01e-10 * np.linalg.norm(y)
    assert flow.losses[-1] == pytest.approx(residual**2 / 16, rel=1e-6)
    assert (np.diff(flow.losses) <= 0).all()
    np.testing.assert_array_equal(flow.limit, model.coefficients(flow.parameters[-1]))


def test_the_divergence_from_any_fit_falls_at_twice_the_loss(followed):
    # d/dt D_Q(beta*, beta(t)) = -2 L(t) for all beta* that fit and lie in the domain of Q.
    model, start, x, _, beta, flow = followed
    potential = model.potential(start)
    shift = np.linalg.svd(x)[2][-1]  # X shift = 0
    for fit in (beta, beta + 0.3 * shift):
        left = [bregman(potential, fit, here) for here in flow.coefficients]
        assert (np.diff(left) < 1e-8 * left[0]).all()
        spent = trapezoid(flow.losses, flow.times)
        assert left[0] - left[-1] == pytest.approx(2 * spent, rel=2e-3)


def test_divergences_add_like_squares(followed):
    # Pythagoras: D(fit, start) = D(fit, limit) + D(limit, start).
    model, start, _, _, beta, flow = followed
    potential, first = model.potential(start), model.coefficients(start)
    whole = bregman(potential, beta, first)
    parts = bregman(potential, beta, flow.limit) + bregman(potential, flow.limit, first)
    assert whole == pytest.approx(parts, rel=1e-7)


def test_the_linear_flow_from_zero_ends_at_the_least_norm():
    x, y, _ = problem(3)
    flow = gradient_flow(Linear(), np.zeros((1, 20)), x, y)
    np.testing.assert_allclose(flow.limit, np.linalg.pinv(x) @ y, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "density"),
    [
        ("deq", 0.915),
        ("linear", 0.669),
        ("net from v = u", 0.314),
        ("gated deq from u = 0", 0.436),
    ],
)
def test_the_densities_of_the_theory(name, density):
    # The numbers of THEORY 2.4, to the digits given there: seed 0 of this data.
    model, start = STARTS[name]
    x, y, _ = problem(0)
    found = closest_fit(model.potential(start), model.coefficients(start), x, y).coefficients
    assert participation_ratio(torch.from_numpy(found)).item() == pytest.approx(density, abs=5e-4)


def descend(model, start, x, y, *, rate, time):
    p = start.copy()
    for _ in range(round(time / rate)):
        gradient = x.T @ (x @ model.coefficients(p) - y) / len(y)
        p = p - rate * model.derivatives(p) * gradient
    return p


@pytest.mark.parametrize("name", STARTS)
def test_gradient_descent_tends_to_the_flow_at_first_order(name):
    model, start = STARTS[name]
    x, y, _ = problem(1)
    flow = gradient_flow(model, start, x, y)
    index = int(np.searchsorted(flow.times, 0.3))
    time, exact = flow.times[index], flow.parameters[index]
    coarse, fine = (
        np.abs(descend(model, start, x, y, rate=time / steps, time=time) - exact).max()
        for steps in (1000, 2000)
    )
    assert fine < 1e-2
    assert coarse / fine == pytest.approx(2, rel=0.1)


def test_a_flow_that_fits_at_the_start_stays():
    x, _, _ = problem(0)
    y = x @ np.ones(20)  # w = 0 has beta = 1
    flow = gradient_flow(Recurrent(), np.zeros((1, 20)), x, y)
    np.testing.assert_array_equal(flow.limit, np.ones(20))


def test_where_no_positive_coefficients_fit_both_say_so():
    x = np.array([[1.0, 2.0]])
    y = np.array([-1.0])
    with pytest.raises(NoFitError, match=r"no coefficients above 0 fit the data"):
        closest_fit(Recurrent().potential(np.zeros((1, 2))), np.ones(2), x, y)
    with pytest.raises(FlowError, match="of Recurrent has not fit the data to 1e-10 at time"):
        gradient_flow(Recurrent(), np.zeros((1, 2)), x, y)


def test_a_fit_on_the_edge_of_the_domain_is_none():
    with pytest.raises(NoFitError, match="a least one of 0"):
        closest_fit(
            Recurrent().potential(np.zeros((1, 2))), np.ones(2), np.eye(2), np.array([1.0, 0.0])
        )


def test_the_residual_sees_coefficients_that_do_not_fit_and_those_that_are_not_closest():
    x, y, beta = problem(0)
    potential, start = Linear().potential(np.zeros((1, 20))), np.zeros(20)
    closest = np.linalg.pinv(x) @ y
    assert kkt_residual(potential, start, x, y, closest) < 1e-12
    assert kkt_residual(potential, start, x, y, 1.1 * closest) == pytest.approx(0.1)
    # beta fits, and its part outside the row space is what moves it away from the closest.
    expected = np.linalg.norm(beta - closest) / np.linalg.norm(beta)
    assert kkt_residual(potential, start, x, y, beta) == pytest.approx(expected)


@pytest.mark.parametrize("w", [1.0, 1.5])
@pytest.mark.parametrize("model", [Recurrent(), Gated()])
def test_a_start_at_or_beyond_one_is_refused(model, w):
    x, y, _ = problem(0)
    start = np.zeros((model.num_kinds, 20))
    start[0, 3] = w
    with pytest.raises(ValueError, match=rf"w must be below 1, got w\[3\] = {w:g}"):
        gradient_flow(model, start, x, y)


def test_bad_data_is_refused():
    x, y, _ = problem(0)
    start = np.zeros((1, 20))
    with pytest.raises(ValueError, match="x has 19 features and the model 20"):
        gradient_flow(Linear(), start, x[:, 1:], y)
    with pytest.raises(ValueError, match="y must not be 0 everywhere"):
        gradient_flow(Linear(), start, x, 0 * y)
    with pytest.raises(ValueError, match="x and y must be finite"):
        gradient_flow(Linear(), start, x * np.nan, y)
    with pytest.raises(ValueError, match="Gated has 2 parameters per coefficient, got 1"):
        gradient_flow(Gated(), start, x, y)
    with pytest.raises(ValueError, match="must be finite"):
        gradient_flow(Linear(), start + np.inf, x, y)
    twice = np.concatenate([x, x[:1]])
    with pytest.raises(ValueError, match="its 9 have rank 8"):
        closest_fit(Linear().potential(start), start[0], twice, np.append(y, y[0]))


def test_a_net_that_cannot_move_has_no_potential():
    mixed = np.array([[1.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="they differ at 1 of 2"):
        Product().potential(mixed)
    with pytest.raises(ValueError, match="they differ at 0 of 2"):
        Product().potential(np.zeros((2, 2)))
