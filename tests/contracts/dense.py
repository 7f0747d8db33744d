"""Gold for tanh cells, by plain iteration and one dense solve a row; and cases at a tolerance.

z = tanh(z W' + x)    =>    J = S W with S = diag(1 - z^2),    v = (I - J')^-1 u

dL/dx = S v,    dL/dW = sum over rows of (S v) z'
"""

from dataclasses import replace

import torch

from tests.problems import F64


def tanh_solution(w, x):
    """The fixed point; 400 steps shrink the error of a contraction by 0.9 to below 1e-18."""
    w, z = w.detach().double(), torch.zeros_like(x, dtype=F64, requires_grad=False)
    x = x.detach().double()
    for _ in range(400):
        z = torch.tanh(z @ w.T + x)
    return z


def tanh_gradients(w, x, u):
    """z*, dL/dx and dL/dW for u = dL/dz*, in float64."""
    z = tanh_solution(w, x)
    slope = 1 - z**2
    jacobian = slope[:, :, None] * w.detach().double()
    eye = torch.eye(z.shape[1], dtype=F64)
    v = torch.linalg.solve((eye - jacobian).mT, u.double()[:, :, None]).squeeze(2)
    by_x = slope * v
    return z, by_x, by_x.T @ z


def at(case, rtol, **changes):
    """The case with its forward solve, and its adjoint where it solves one, held to `rtol`."""
    gradient, adjoint = case.gradient, getattr(case.gradient, "solver", None)
    if getattr(gradient, "accuracy", None) is not None:
        gradient = replace(gradient, accuracy=10 * rtol)  # an error is larger than a residual
    if hasattr(adjoint, "rtol"):
        gradient = replace(gradient, solver=replace(adjoint, rtol=rtol))
    return replace(case, gradient=gradient, solver=replace(case.solver, rtol=rtol, **changes))


def relative_error(value, gold):
    return ((value.detach().double() - gold).norm() / gold.norm()).item()
