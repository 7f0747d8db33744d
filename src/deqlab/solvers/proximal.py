"""Activations as proximal operators.

A nondecreasing 1-Lipschitz sigma is the proximal operator of a convex function phi; the methods
that split need that of alpha phi too:

    sigma(u) = argmin_z phi(z) + (z - u)^2 / 2,
    prox_alpha(u) = argmin_z alpha phi(z) + (z - u)^2 / 2.

The second is sigma(t), where t solves

    alpha t + (1 - alpha) sigma(t) = u.

Source: Combettes & Pesquet (2020), "Deep neural network structures solving variational
inequalities", Set-Valued Var. Anal. 28; Winston & Kolter (2020), "Monotone operator equilibrium
networks".
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

NEWTON_STEPS = 100
"""Far more than float64 needs at any alpha; only a nan goes on to the end."""


@dataclass(frozen=True)
class Proximal(ABC):
    """An elementwise activation, and the proximal operators of its convex function."""

    @abstractmethod
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return sigma(u), the proximal operator at alpha = 1."""

    @abstractmethod
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        """Return the proximal operator at alpha > 0."""


@dataclass(frozen=True)
class Relu(Proximal):
    """max(u, 0): the projection on what is not negative, the same at every alpha."""

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.relu(u)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        return torch.relu(u)


@dataclass(frozen=True)
class Tanh(Proximal):
    """tanh(u)."""

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.tanh(u)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        return torch.tanh(u if alpha == 1 else _before(u, alpha, 1 - alpha))


@dataclass(frozen=True)
class Sigmoid(Proximal):
    """1 / (1 + exp(-u)) = (1 + tanh(u / 2)) / 2."""

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.sigmoid(u)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        if alpha == 1:
            return torch.sigmoid(u)
        # In s = t / 2: 2 alpha s + (1 - alpha) tanh(s) / 2 = u - (1 - alpha) / 2.
        half = _before(u - (1 - alpha) / 2, 2 * alpha, (1 - alpha) / 2)
        return torch.sigmoid(2 * half)


def proximal(activation: Callable[[Tensor], Tensor]) -> Proximal:
    """Return the activation as a proximal operator; torch's functions become the classes here.

    Raises:
        TypeError: Nothing here has that activation.
    """
    if isinstance(activation, Proximal):
        return activation
    for known, operator in _KNOWN:
        if activation is known:
            return operator
    raise TypeError(
        f"no proximal operator is known for {activation!r}: pass torch.relu, torch.tanh, "
        "torch.sigmoid, or a Proximal of your own"
    )


_KNOWN: tuple[tuple[Callable[[Tensor], Tensor], Proximal], ...] = (
    (torch.relu, Relu()),
    (torch.nn.functional.relu, Relu()),
    (torch.tanh, Tanh()),
    (torch.sigmoid, Sigmoid()),
)


def _before(u: Tensor, slope: float, curved: float) -> Tensor:
    """Return t with slope t + curved tanh(t) = u, where slope > 0 and slope + curved > 0.

    The left side is odd and increasing. On the side of u it is convex or concave, and Newton's
    method starts beyond or before the root accordingly (|tanh(t)| <= |t|): it never crosses it.
    """
    t = u / (slope + curved)
    for _ in range(NEWTON_STEPS):
        tanh = torch.tanh(t)
        step = (slope * t + curved * tanh - u) / (slope + curved * (1 - tanh * tanh))
        t = t - step
        # The last steps are rounding, up and down.
        if bool((step.abs() <= 4 * torch.finfo(t.dtype).eps * t.abs()).all()):
            break
    return t
