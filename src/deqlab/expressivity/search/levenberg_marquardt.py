"""Levenberg-Marquardt: least squares with few weights, to rounding.

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
"""Of mu. Where no step helps at the most of them, none will: there the fit ends."""

EASED, TIGHTENED = 1 / 3, 4.0
"""What a step that is taken makes of mu, and one that is not."""

FLOOR, RIDGE = 1e-10, 1e-13
"""Added to D, for weights without effect, and to the whole matrix, for its factorisation."""


@runtime_checkable
class Model(Protocol):
    """What is fitted: N outputs that are functions of P weights."""

    def output(self, weights: Float[Tensor, " P"]) -> Float[Tensor, " N"]:
        """Return the outputs."""

    def jacobian(
        self, weights: Float[Tensor, " P"]
    ) -> tuple[Float[Tensor, " N"], Float[Tensor, "P N"]]:
        """Return the outputs, and their derivatives by each weight."""


@dataclass(frozen=True)
class Fit:
    """Where a fit ended.

    Attributes:
        weights: Those of least loss.
        loss: Mean squared error.
        steps: Steps that were solved for, taken or not.
    """

    weights: Float[Tensor, " P"]
    loss: float
    steps: int


def levenberg_marquardt(
    model: Model, weights: Float[Tensor, " P"], target: Float[Tensor, " N"], *, steps: int
) -> Fit:
    """Return the fit of a model to its targets, from given weights.

    Args:
        model: On the points of the targets.
        weights: Where to start.
        target: What the outputs should be.
        steps: At most; 0 or more.
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
        # Not positive definite, to rounding: more damping, no step.
        return torch.full_like(gradient, torch.nan)
    return torch.cholesky_solve(gradient[:, None], factor)[:, 0]


def _loss(output: Float[Tensor, " N"], target: Float[Tensor, " N"]) -> float:
    return (output - target).square().mean().item()
