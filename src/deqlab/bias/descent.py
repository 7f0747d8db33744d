"""Gradient descent on an actual DEQ, in steps so short that it follows the gradient flow.

    p <- p - eta_k dL/dp,    eta_k = min(1, c |y| / |X beta - y|) / lambda_k

with lambda_k the largest eigenvalue of the tangent kernel X (d beta/dp)^2 X' / m, from the closed
form of the derivatives. Where the coefficients move far, steps are a small part c of those that
are stable; where they have nearly arrived, only stability limits them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.bias.diagonal import DiagonalDEQ
from deqlab.bias.parametrisations import Parameters, Parametrisation

FIT = 1e-4
"""The relative residual at which training stops."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Where gradient descent ended.

    Attributes:
        coefficients: beta, measured: the answers of the network on the unit vectors.
        closed_form: beta from the weights.
        fit: |X beta - y| / |y|.
        steps: The number of steps that were taken.
        residual: The largest residual of the last solve, relative to the size of its sample.
        converged: The share of samples of that solve that are at their equilibrium.
    """

    coefficients: Float[Tensor, " n"]
    closed_form: Float[Tensor, " n"]
    fit: float
    steps: int
    residual: float
    converged: float


def descend(
    model: Parametrisation,
    start: Parameters,
    x: Float[Tensor, "m n"],
    y: Float[Tensor, " m"],
    *,
    share: float,
    max_steps: int,
) -> Descent:
    """Train the diagonal DEQ `model` from `start`.

    Args:
        model: `Recurrent()` or `Gated()`.
        start: Its parameters: w, and u if it has them.
        x: Inputs.
        y: Targets.
        share: c, the share of a stable step, in (0, 1].
        max_steps: The most steps.
    """
    network = DiagonalDEQ(*torch.from_numpy(start))
    fit, steps = float("inf"), 0
    while True:
        output = network(x)
        fit = float((output.detach() - y).norm() / y.norm())
        if fit <= FIT or steps == max_steps:
            break
        network.zero_grad()
        (((output - y) ** 2).mean() / 2).backward()
        rate = min(1.0, share / fit) / _curvature(model, network, x)
        with torch.no_grad():
            for p in network.parameters():
                assert p.grad is not None
                p.sub_(rate * p.grad)
        steps += 1
    with torch.no_grad():
        solution = network.solve(x)
        size = torch.linalg.vector_norm(solution.matrix, dim=1)
        return Descent(
            coefficients=network(torch.eye(x.shape[1], dtype=x.dtype)),
            closed_form=network.coefficients.detach(),
            fit=fit,
            steps=steps,
            residual=float((solution.residual / size).max()),
            converged=float(solution.converged.double().mean()),
        )


def _curvature(model: Parametrisation, network: DiagonalDEQ, x: Float[Tensor, "m n"]) -> float:
    p = torch.stack([weights.detach() for weights in network.parameters()]).numpy()
    speed = torch.from_numpy((model.derivatives(p) ** 2).sum(axis=0))
    return float(torch.linalg.eigvalsh((x * speed) @ x.mT / len(x))[-1])
