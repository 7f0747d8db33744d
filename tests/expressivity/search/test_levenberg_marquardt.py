"""Levenberg-Marquardt against scipy's, and where it must stop."""

import numpy as np
import torch
from scipy.optimize import least_squares

from deqlab.expressivity.search import levenberg_marquardt

X = torch.linspace(0, 2, 30, dtype=torch.float64)


class Decay:
    """y = a exp(-b x), and how often its Jacobian was asked for."""

    jacobians = 0

    def output(self, weights):
        return weights[0] * torch.exp(-weights[1] * X)

    def jacobian(self, weights):
        self.jacobians += 1
        y = self.output(weights)
        return y, torch.stack([y / weights[0], -X * y])


def noisy():
    noise = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Decay().output(torch.tensor([2.0, 1.5], dtype=torch.float64)) + 0.1 * noise


def test_it_finds_the_minimum_that_scipy_finds():
    target = noisy()
    start = torch.tensor([1.0, 0.1], dtype=torch.float64)
    fit = levenberg_marquardt(Decay(), start, target, steps=60)
    theirs = least_squares(
        lambda w: w[0] * np.exp(-w[1] * X.numpy()) - target.numpy(),
        start.numpy(),
        method="lm",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    np.testing.assert_allclose(fit.weights.numpy(), theirs.x, rtol=1e-7)
    np.testing.assert_allclose(fit.loss, 2 * theirs.cost / 30, rtol=1e-12)


def test_targets_that_can_be_met_are_met_to_rounding():
    target = Decay().output(torch.tensor([2.0, 1.5], dtype=torch.float64))
    start = torch.tensor([1.0, 0.1], dtype=torch.float64)
    assert levenberg_marquardt(Decay(), start, target, steps=60).loss < 1e-29


def test_the_loss_never_rises_and_more_steps_only_help():
    start = torch.tensor([5.0, 3.0], dtype=torch.float64)
    fits = [levenberg_marquardt(Decay(), start, noisy(), steps=n) for n in range(12)]
    losses = [fit.loss for fit in fits]
    assert losses == sorted(losses, reverse=True)
    assert [fit.steps for fit in fits] == list(range(12))
    assert torch.equal(fits[0].weights, start)
    assert losses[0] == (Decay().output(start) - noisy()).square().mean().item()


def test_it_ends_where_no_step_helps_and_looks_at_the_jacobian_once_a_point():
    model, target = Decay(), noisy()
    start = torch.tensor([1.0, 0.1], dtype=torch.float64)
    first = levenberg_marquardt(model, start, target, steps=1000)
    assert first.steps < 150
    model.jacobians = 0
    again = levenberg_marquardt(model, first.weights, target, steps=1000)
    # From 1e-2 to 1e8 by factors of 4 is 17 steps, all refused.
    assert again.steps == 17
    assert model.jacobians == 1
    assert torch.equal(again.weights, first.weights)


def test_weights_without_effect_and_losses_of_nan_do_no_harm():
    class Half(Decay):
        def output(self, weights):
            return weights[0] * X + (torch.nan if weights[0] > 10 else 0.0)

        def jacobian(self, weights):
            return self.output(weights), torch.stack([X, 0 * X])

    start = torch.zeros(2, dtype=torch.float64)
    fit = levenberg_marquardt(Half(), start, 3 * X, steps=60)
    np.testing.assert_allclose(fit.weights.numpy(), [3, 0], atol=1e-14)
    stuck = levenberg_marquardt(Half(), start, 30 * X, steps=60)
    assert stuck.weights[0] <= 10
    assert stuck.loss < (30 * X).square().mean()
