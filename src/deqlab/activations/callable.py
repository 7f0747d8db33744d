"""Any elementwise function as an activation."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.activations.expectation import expectation
from deqlab.activations.kinks import find_jumps, grid, merged
from deqlab.activations.numeric import Numeric
from deqlab.activations.rules import Function

MOST_KINKS = 16
"""Nodes of a rule grow with the cube of the number of kinks."""


@dataclass(frozen=True, repr=False)
class Elementwise(Numeric):
    """A function, its derivative and its kinks; made by `from_callable`, which checks them."""

    function: Function
    slope: Function
    places: tuple[float, ...]
    name: str

    @property
    @override
    def kinks(self) -> tuple[float, ...]:
        return self.places

    @override
    def __call__(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return self.function(u)

    @override
    def derivative(self, u: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return self.slope(u)

    @override
    def __repr__(self) -> str:
        return self.name


def from_callable(
    function: Callable[[Tensor], Tensor],
    derivative: Callable[[Tensor], Tensor] | None = None,
    kinks: Sequence[float] | None = None,
    name: str | None = None,
) -> Elementwise:
    """Return a function of tensors as an activation, its duals found by quadrature.

    Args:
        function: Elementwise, analytic but for finitely many kinks, of polynomial or moderate
            exponential growth.
        derivative: Its derivative; None for that of autograd.
        kinks: Where the function or one of its derivatives jumps; () for nowhere. None to look
            for jumps of the function and its first two derivatives in [-40, 40]. Jumps of higher
            ones cost nodes, or have to be named.
        name: For messages; None for the function's own.

    Raises:
        ValueError: The function or its derivative is not elementwise or not finite, the
            derivative is not its derivative, or its kinks are not resolved.

    Example:
        >>> from_callable(torch.nn.functional.hardtanh).kinks
        (-1.0, 1.0)
    """
    name = name or str(getattr(function, "__name__", function))
    slope = _autograd(function) if derivative is None else derivative
    _check_elementwise(function, name)
    _check_elementwise(slope, f"the derivative of {name}")
    if kinks is None:
        kinks = _found(function, slope)
    places = tuple(merged([float(k) for k in kinks]))
    if not all(abs(k) < float("inf") for k in places):
        raise ValueError(f"kinks of {name} must be finite numbers, got {places}")
    if len(places) > MOST_KINKS:
        raise ValueError(
            f"{name} has {len(places)} kinks in [-40, 40], the first at {places[0]:g}: more than "
            f"the {MOST_KINKS} that quadrature can resolve"
        )
    phi = Elementwise(function, slope, places, name)
    if derivative is not None:
        _check_slope(phi)
    _check_resolved(phi)
    return phi


def _autograd(function: Function) -> Function:
    def slope(u: Tensor) -> Tensor:
        with torch.enable_grad():
            x = u if u.requires_grad else u.detach().requires_grad_()
            y = function(x)
            if not y.requires_grad:  # piecewise constant
                return torch.zeros_like(u)
            (found,) = torch.autograd.grad(
                y.sum(), x, create_graph=u.requires_grad, materialize_grads=True
            )
        return found

    return slope


def _found(function: Function, slope: Function) -> list[float]:
    places = find_jumps(function) + find_jumps(slope)
    with contextlib.suppress(RuntimeError):  # no second derivative: its jumps have to be named
        places += find_jumps(_autograd(slope))
    return merged(places)


def _check_elementwise(function: Function, name: str) -> None:
    probe = torch.linspace(-3, 3, 24, dtype=torch.float64).view(4, 6) + 0.01
    try:
        value = function(probe)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must take a tensor of any shape: {error}") from error
    if not isinstance(value, Tensor) or (value.shape, value.dtype) != (probe.shape, probe.dtype):
        what = (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else type(value)
        raise ValueError(
            f"{name} must be elementwise, and keep shape and dtype: {tuple(probe.shape)}, "
            f"{probe.dtype} became {what}"
        )
    back = probe.flatten().flip(0)
    parts = torch.cat([function(back[:7]), function(back[7:])]).flip(0)
    if not torch.allclose(parts, value.flatten(), rtol=1e-9, atol=1e-9, equal_nan=True):
        raise ValueError(f"{name} must be elementwise: its values depend on their neighbours")
    points = grid()
    finite = function(points).isfinite()
    if not bool(finite.all()):
        raise ValueError(f"{name} is not finite at u = {float(points[~finite][0]):g}")


def _check_slope(phi: Elementwise) -> None:
    step = 1e-5
    u = torch.linspace(-4, 4, 81, dtype=torch.float64) + 0.0123
    for k in phi.kinks:
        u = u[(u - k).abs() > 2 * step]
    quotient = (phi(u + step) - phi(u - step)) / (2 * step)
    wrong = (phi.derivative(u) - quotient).abs() > 1e-4 * (1 + quotient.abs())
    if bool(wrong.any()):
        at = u[wrong][:1]
        raise ValueError(
            f"derivative is not that of {phi!r}: {float(phi.derivative(at)):g} at u = "
            f"{float(at):g}, where the difference quotient is {float(quotient[wrong][0]):g}"
        )


@torch.no_grad()
def _check_resolved(phi: Elementwise) -> None:
    def powers(u: Tensor, _: Tensor) -> Tensor:
        # The square alone of a ReLU is as good as smooth: its mean is that of u^2 / 2.
        values = torch.stack([phi(u), phi.derivative(u)])
        return torch.cat([values, values**2])

    def size(u: Tensor) -> Tensor:
        return phi(u).abs() + phi.derivative(u).abs()

    one = torch.ones(1, dtype=torch.float64)
    try:
        expectation(powers, one, phi.kinks, size=size, name=repr(phi))
    except RuntimeError as error:
        raise ValueError(
            f"the kinks of {phi!r} are not resolved, name all of them in kinks=(...): {error}"
        ) from error
