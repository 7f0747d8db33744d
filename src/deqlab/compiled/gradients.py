"""Gradients of a compiled solve: evaluations of f after the loop, which autograd follows.

None of them changes the value. In a sum of products with J, each is the difference of two
evaluations of f at z*: f(z* + t) - f(z*) is zero where t is, its derivative by t is J, and what it
owes to the parameters of f cancels.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.compiled.report import ELSEWHERE, HERE, refuse
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.gradients.phantom import JacobianFree, Phantom
from deqlab.gradients.unrolled import Unrolled

MatrixMap: TypeAlias = Callable[[Tensor], Tensor]
"""One (B, D) matrix to another, row to row."""


def check_gradient(gradient: Gradient) -> None:
    """Raise NotImplementedError unless the gradient can be compiled."""
    if isinstance(gradient, JacobianFree | Phantom):
        return
    if type(gradient) is Implicit:
        _check_implicit(gradient)
        return
    if isinstance(gradient, Unrolled) and gradient.steps is not None and not gradient.checkpoint:
        return
    refuse(
        f"{HERE} has no backward pass of "
        f"{type(gradient).__name__}: take Implicit(), JacobianFree(), Phantom() or "
        f"Unrolled(steps=...), solve under torch.no_grad(), or {ELSEWHERE}"
    )


def _check_implicit(gradient: Implicit) -> None:
    if gradient.accuracy is not None:
        refuse(
            f"{HERE} has no gradient of a stated accuracy, whose solves go on from where they "
            f"were: leave out accuracy, and set the rtol of the solver, or {ELSEWHERE}"
        )
    if gradient.warm_start is not None:
        refuse(f"{HERE}: warm_start is not compiled; take none, or {ELSEWHERE}")
    if not isinstance(gradient.solver, GMRES):
        refuse(
            f"{HERE} solves the adjoint equation by GMRES, not by "
            f"{type(gradient.solver).__name__}: take Implicit(), or {ELSEWHERE}"
        )
    if gradient.solver.restart is not None:
        refuse(f"{HERE} has GMRES without restarts: leave out restart, or {ELSEWHERE}")
    if torch.compiler.is_exporting():
        refuse("torch.export holds no backward pass of Implicit: solve under torch.no_grad()")


def attach(
    f: MatrixMap, z_star: Float[Tensor, "B D"], gradient: Gradient, *, defined: Bool[Tensor, " B"]
) -> Float[Tensor, "B D"]:
    """Return z_star, now carrying a gradient.

    Args:
        f: The map.
        z_star: Its fixed point, which no tape leads to.
        gradient: One that `check_gradient` lets pass.
        defined: False for rows that shall pass no gradient.
    """

    def defined_f(z: Tensor) -> Tensor:
        return torch.where(defined[:, None], f(z), z_star)

    if isinstance(gradient, Phantom) and not gradient.unrolled:
        return z_star + _neumann(defined_f, z_star, gradient)
    steps, damping = 1, 1.0
    if isinstance(gradient, Phantom | Unrolled):
        steps = gradient.steps or 1
    if isinstance(gradient, Phantom):
        damping = gradient.damping
    z = z_star
    for _ in range(steps):
        fz = defined_f(z)
        z = fz if damping == 1 else torch.lerp(z, fz, damping)
    return z_star + _gradient_of(z)


def _neumann(f: MatrixMap, z_star: Tensor, gradient: Phantom) -> Tensor:
    """Return zero, with the gradient of lambda sum_{t < k} (lambda J + (1 - lambda) I)^t f(z*)."""
    image = f(z_star)
    term = total = gradient.damping * _gradient_of(image)
    for _ in range(gradient.steps - 1):
        product = _gradient_of(f(z_star + term) - image)
        term = torch.lerp(term, product, gradient.damping)
        total = total + term
    return total


def _gradient_of(z: Tensor) -> Tensor:
    """Return zero, with the gradient of z."""
    return z - z.detach()
