"""Activations as proximal operators.

A nondecreasing 1-Lipschitz sigma is the proximal operator of a convex function phi; the methods
that split need that of alpha phi too:

    sigma(u) = argmin_z phi(z) + (z - u)^2 / 2,
    prox_alpha(u) = argmin_z alpha phi(z) + (z - u)^2 / 2.

The second is sigma(t), where t solves

    alpha t + (1 - alpha) sigma(t) = u.

The derivative is the one that autograd gives sigma, also at its kinks: the adjoint equation of an
equilibrium is split with it (see `split`).

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

from deqlab.arguments import check_number

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

    @abstractmethod
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        """Return sigma'(u), in [0, 1]."""


@dataclass(frozen=True)
class Relu(Proximal):
    """max(u, 0): the projection on what is not negative, the same at every alpha."""

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.relu(u)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        return torch.relu(u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return (u > 0).to(u.dtype)


@dataclass(frozen=True)
class Tanh(Proximal):
    """tanh(u)."""

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.tanh(u)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        return torch.tanh(u if alpha == 1 else _before(u, alpha, 1 - alpha))

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return 1 - torch.tanh(u).square()


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

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        s = torch.sigmoid(u)
        return s * (1 - s)


@dataclass(frozen=True)
class SoftThreshold(Proximal):
    """sign(u) max(|u| - threshold, 0): the proximal operator of threshold |z|, for sparse states.

    Attributes:
        threshold: 0 or more.
    """

    threshold: float

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold)
        if not 0 <= self.threshold < float("inf"):
            raise ValueError(f"threshold must be 0 or more, and finite, got {self.threshold}")

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return self.prox(u, 1.0)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        wide = alpha * self.threshold
        return u - u.clamp(-wide, wide)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return (u.abs() > self.threshold).to(u.dtype)


@dataclass(frozen=True, eq=False)
class Box(Proximal):
    """The projection on lower <= z <= upper: a constraint on each entry, the same at every alpha.

    A bound that is a tensor has the shape of one sample's state, or one that is broadcast to it,
    and receives gradients if it needs them.

    Attributes:
        lower: The least values; -inf for none.
        upper: The largest ones, at least `lower`; inf for none.

    Example:
        >>> import torch
        >>> Box(-1.0, 1.0)(torch.tensor([-3.0, 0.5, 2.0]))
        tensor([-1.0000,  0.5000,  1.0000])
    """

    lower: float | Tensor
    upper: float | Tensor

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            bound = getattr(self, name)
            if not isinstance(bound, Tensor):
                check_number(name, bound)
        gap = torch.as_tensor(self.upper).detach() - torch.as_tensor(self.lower).detach()
        if not bool((gap >= 0).all()):
            raise ValueError(
                "Box needs lower <= upper in every entry, got "
                f"{int((~(gap >= 0)).sum())} of {gap.numel()} where that is not so"
            )

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        if not isinstance(self.lower, Tensor) and not isinstance(self.upper, Tensor):
            return u.clamp(self.lower, self.upper)
        lower, upper = self._bounds(u)
        return torch.minimum(torch.maximum(u, lower), upper)

    @override
    def prox(self, u: Float[Tensor, "*S"], alpha: float) -> Float[Tensor, "*S"]:
        return self(u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        lower, upper = self._bounds(u)
        return ((u > lower) & (u < upper)).to(u.dtype)

    def _bounds(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds as tensors in the dtype and on the device of u."""
        bounds = (torch.as_tensor(b).to(u) for b in (self.lower, self.upper))
        lower, upper = bounds
        return lower, upper


@dataclass(frozen=True)
class ZeroBorder(Proximal):
    """Another activation on feature maps whose outermost pixels are held at zero.

    A circular convolution with filters of 3 x 3 is then one with padding by zeros. Source: Winston
    & Kolter (2020), section on convolutional networks.

    Attributes:
        inner: The activation of all other pixels.
    """

    inner: Proximal

    @override
    def __call__(self, u: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        return _framed(self.inner(u[..., 1:-1, 1:-1]))

    @override
    def prox(self, u: Float[Tensor, "*B H W"], alpha: float) -> Float[Tensor, "*B H W"]:
        return _framed(self.inner.prox(u[..., 1:-1, 1:-1], alpha))

    @override
    def derivative(self, u: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        return _framed(self.inner.derivative(u[..., 1:-1, 1:-1]))


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
        "torch.sigmoid, or a Proximal, such as Box(-1.0, 1.0) or one of your own"
    )


_KNOWN: tuple[tuple[Callable[[Tensor], Tensor], Proximal], ...] = (
    (torch.relu, Relu()),
    (torch.nn.functional.relu, Relu()),
    (torch.tanh, Tanh()),
    (torch.sigmoid, Sigmoid()),
)


def _framed(inside: Tensor) -> Tensor:
    return torch.nn.functional.pad(inside, (1, 1, 1, 1))


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
