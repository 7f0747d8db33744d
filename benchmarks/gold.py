"""What the true answers are: the fixed point and the gradient, in float64.

The gradient owes nothing to deqlab: scipy's GMRES solves the adjoint equation (I - J') v = u for
the whole batch at once, on the tape of one evaluation of f.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from benchmarks.workloads import CONSTANTS, Workload
from deqlab import Anderson, fixed_point

RESIDUAL = 1e-12
"""What gold must reach in every row, |f(z) - z| / |f(z)|."""

ADJOINT_RESIDUAL = 1e-11
"""What the adjoint of gold must reach over the batch, |J'v + u - v| / |u|."""


@dataclass(frozen=True)
class Gold:
    """The float64 answers to one workload.

    Attributes:
        z: The fixed point.
        gradients: Of the loss, by name of the trainable tensor; empty unless asked for.
        adjoint_growth: The largest |v| / |u| of a row: how far the adjoint is from v = u.
    """

    z: Tensor
    gradients: dict[str, Tensor]
    adjoint_growth: float | None = None

    def error(self, z: Tensor) -> float:
        """Return the largest relative error of a row of z."""
        return worst_ratio(z.double() - self.z, self.z)

    def gradient_error(self, gradients: Sequence[Tensor]) -> float:
        """Return the relative error of all gradients together, in the order of the workload."""
        gold = list(self.gradients.values())
        pairs = list(zip(gradients, gold, strict=True))
        error = sum((ours.double() - exact).square().sum().item() for ours, exact in pairs)
        return (error / sum(exact.square().sum().item() for exact in gold)) ** 0.5


def worst_ratio(numerator: Tensor, denominator: Tensor) -> float:
    """Return the largest quotient of the norms of corresponding rows; nan if there is one."""
    top, bottom = (torch.linalg.vector_norm(t.flatten(1), dim=1) for t in (numerator, denominator))
    return (top / bottom).max().item()


def residual(workload: Workload, z: Tensor) -> float:
    """Return the largest |f(z) - z| / |f(z)| of a row, computed in float64."""
    with torch.no_grad():
        z = z.double()
        fz = workload.map(torch.float64)(z)
        return worst_ratio(fz - z, fz)


def solve(workload: Workload, *, gradients: bool) -> Gold:
    """Return the answers, which the residuals have been checked to be.

    Raises:
        RuntimeError: A residual misses what gold must reach.
    """
    solver = Anderson(rtol=RESIDUAL / 2, atol=0.0, memory=10, max_steps=5000, patience=1000)
    with torch.no_grad():
        f, z0 = workload.map(torch.float64), workload.z0.double()
        solution = fixed_point(f, z0, solver=solver, on_failure="ignore")
    z = solution.value
    assert isinstance(z, Tensor)
    if not (found := residual(workload, z)) <= RESIDUAL:
        raise RuntimeError(f"gold of workload {workload.key} has a residual of {found:.1e}")
    if not gradients:
        return Gold(z, {})
    exact, growth = exact_gradients(workload, z)
    names = [name for name in workload.tensors if name not in CONSTANTS]
    return Gold(z, dict(zip(names, exact, strict=True)), growth)


def exact_gradients(workload: Workload, z: Tensor) -> tuple[tuple[Tensor, ...], float]:
    """Return the implicit gradients at z, and the largest |v| / |u| of a row.

    Raises:
        RuntimeError: The adjoint equation was not solved to `ADJOINT_RESIDUAL`.
    """
    arguments = workload.arguments(torch.float64, trainable=True)
    leaf, u = z.detach().requires_grad_(), workload.cotangent().double()
    out = workload.cell(leaf, *arguments)

    def tensor(vector: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(vector)).view_as(z)

    def product(vector: np.ndarray) -> np.ndarray:
        v = tensor(vector)
        (pulled,) = torch.autograd.grad(out, leaf, v, retain_graph=True)
        return (v - pulled).numpy().ravel()

    system = LinearOperator((z.numel(), z.numel()), matvec=product, dtype=np.float64)
    right = u.numpy().ravel()
    v, _ = gmres(system, right, rtol=ADJOINT_RESIDUAL, restart=50, maxiter=20)
    missed = np.linalg.norm(product(v) - right) / np.linalg.norm(right)
    if not missed <= 2 * ADJOINT_RESIDUAL:
        raise RuntimeError(f"adjoint of workload {workload.key} has a residual of {missed:.1e}")
    leaves = [argument for argument in arguments if argument.requires_grad]
    return torch.autograd.grad(out, leaves, tensor(v)), worst_ratio(tensor(v), u)
