"""Levenberg-Marquardt: nonlinear least squares with few weights, down to rounding.

With r the errors on N points and J their derivatives by the weights, a step solves

    (J J' / N + mu D + 1e-13 I) d = J r / N,    D = diag(J J' / N) + 1e-10

and is taken if the mean of r^2 falls; then mu is divided by 3, else multiplied by 4. Source:
Marquardt (1963), "An algorithm for least-squares estimation of nonlinear parameters"; the
constants are deqlab's own.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

START, LEAST, MOST = 1e-2, 1e-12, 1e8
"""The first, the least and the largest mu. Where no step helps at the largest one, none will, and
the fit ends."""

EASED, TIGHTENED = 1 / 3, 4.0
"""The factor of mu after a step that is taken, and after one that is refused."""

FLOOR, RIDGE = 1e-10, 1e-13
"""Added to D, for weights without effect, and to the whole matrix, for its factorisation."""


@runtime_checkable
class LeastSquaresModel(Protocol):
    """What is fitted: N outputs that are functions of P weights."""

    def output(self, weights: Float[Tensor, " P"]) -> Float[Tensor, " N"]:
        """Return the outputs."""

    def jacobian(
        self, weights: Float[Tensor, " P"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "P N"]]:
        """Return the outputs, and their derivatives by each weight."""


@dataclass(frozen=True)
class Fit:
    """The end of a fit.

    Attributes:
        weights: The weights of least loss.
        loss: The mean squared error there.
        steps: The number of steps that were solved for, taken or refused.
    """

    weights: Float[Tensor, " P"]
    loss: float
    steps: int


def levenberg_marquardt(
    model: LeastSquaresModel,
    weights: Float[Tensor, " P"],
    target: Float[Tensor, " N"],
    *,
    steps: int,
) -> Fit:
    """Return the fit of a model to its targets by Levenberg-Marquardt.

    A step whose loss is nan is refused, so that a model may give nan outside of its domain. A step
    costs O(P^2 N + P^3), and 8 P N bytes are held.

    Args:
        model: The outputs at the points of the targets, and their Jacobian.
        weights: Where the fit starts, in float64.
        target: What the outputs should be.
        steps: The largest number of steps, 0 or more.

    Example:
        >>> from deqlab.expressivity.search import Architecture, Evaluation
        >>> x = torch.linspace(-1, 1, 50, dtype=torch.float64)
        >>> ramp = Architecture((1,), dense=False)  # v relu(u x + b) + c
        >>> start = torch.ones(ramp.num_parameters, dtype=torch.float64)
        >>> fit = levenberg_marquardt(Evaluation(ramp, x), start, 3 * torch.relu(x), steps=50)
        >>> fit.loss < 1e-24
        True
    """
    mu, tried = START, 0
    loss = _loss(model.output(weights), target)
    while tried < steps and mu < MOST:
        y, j = model.jacobian(weights)
        gram, gradient = j @ j.mT / len(y), j @ (y - target) / len(y)
        while tried < steps and mu < MOST:
            tried += 1
            trial = weights - _step(gram, gradient, mu)
            trial_loss = _loss(model.output(trial), target)
            if trial_loss < loss:  # false for nan
                weights, loss, mu = trial, trial_loss, max(mu * EASED, LEAST)
                break
            mu *= TIGHTENED
    return Fit(weights, loss, tried)


def _step(
    gram: Float[Tensor, "P P"], gradient: Float[Tensor, " P"], mu: float
) -> Float[Tensor, " P"]:
    damping = mu * (gram.diagonal() + FLOOR) + RIDGE
    factor, info = torch.linalg.cholesky_ex(gram + damping.diag())
    if info:
        # Not positive definite, to rounding: a step of nan is refused, and mu grows.
        return torch.full_like(gradient, torch.nan)
    return torch.cholesky_solve(gradient[:, None], factor)[:, 0]


def _loss(output: Float[Tensor, " N"], target: Float[Tensor, " N"]) -> float:
    return (output - target).square().mean().item()
